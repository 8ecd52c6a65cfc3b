// Signal side. Order number j belongs to signal j / n: a signal is out when all orders up to its last are out,
// which needs no reading of order bodies and holds at every pace.
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { double sent, ack, first, last; } Mark;
typedef struct { char *text; size_t len, id_at[8], now_at[8]; int ids, nows; } Template;

static Mark *marks;                 // one per signal, warm-up included
static Template templates[TEMPLATES_MAX];
static Conn *lanes[LANES_MAX], *idle[LANES_MAX];
static int idle_count;
static long total, sent, acked, orders, extra, late, errors;
static double started, ended, next_due;
static bool stopped, batch_done;
static char first_error[200];
enum { ID_DIGITS = 12, NOW_CHARS = 24 };

// --- templates: @ID@ (12 digits), @NOW@ (RFC 3339, ms), @LEN@ (Content-Length); the size never changes

static void text_add(Template *t, const char *data, size_t len) {
  t->text = realloc(t->text, t->len + len + 1);
  memcpy(t->text + t->len, data, len);
  t->len += len;
}

static void expand(Template *t, const char *from, size_t len, size_t body) {
  char length[16];
  for (size_t i = 0; i < len;) {
    if (len - i >= 4 && !memcmp(from + i, "@ID@", 4) && t->ids < 8) {
      t->id_at[t->ids++] = t->len;
      text_add(t, "000000000000", ID_DIGITS);
      i += 4;
    } else if (len - i >= 5 && !memcmp(from + i, "@NOW@", 5) && t->nows < 8) {
      t->now_at[t->nows++] = t->len;
      text_add(t, "2000-01-01T00:00:00.000Z", NOW_CHARS);
      i += 5;
    } else if (len - i >= 5 && !memcmp(from + i, "@LEN@", 5)) {
      text_add(t, length, snprintf(length, sizeof length, "%zu", body));
      i += 5;
    } else {
      text_add(t, from + i++, 1);
    }
  }
}

static bool load(Template *t, const char *path) {
  static char raw[65536], head[65536];
  FILE *f = fopen(path, "r");
  if (!f) return false;
  size_t len = fread(raw, 1, sizeof raw - 1, f), h = 0;
  fclose(f);
  raw[len] = 0;
  while (len && raw[len - 1] == '\n') len--;
  char *blank = memmem(raw, len, "\n\n", 2);
  if (!blank) return false;
  for (char *p = raw; p < blank + 2 && h < sizeof head - 2; p++) {
    if (*p == '\n') head[h++] = '\r';
    head[h++] = *p;
  }
  Template body = {0};
  expand(&body, blank + 2, raw + len - blank - 2, 0);
  free(t->text);
  *t = (Template){0};
  expand(t, head, h, body.len);
  expand(t, blank + 2, raw + len - blank - 2, 0);
  free(body.text);
  return true;
}

static void fill(Template *t, long id) {
  char text[40];
  struct timespec now;
  struct tm utc;
  snprintf(text, sizeof text, "%012ld", id);
  for (int i = 0; i < t->ids; i++) memcpy(t->text + t->id_at[i], text, ID_DIGITS);
  if (!t->nows) return;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text + size, sizeof text - size, ".%03ldZ", now.tv_nsec / 1000000);
  for (int i = 0; i < t->nows; i++) memcpy(t->text + t->now_at[i], text, NOW_CHARS);
}

// --- a run

static bool open_loop(void) { return run.rate_per_s > 0; }
static bool closed_loop(void) { return !open_loop() && run.inflight == 1; }

static void lane_reset(int i) {
  int fd = dial(run.target_port);
  lanes[i] = fd < 0 ? NULL : conn_open(fd, LANE, NULL);
}

bool signal_start(char *problem, size_t size) {
  total = run.count + run.warmup;
  if (total < 1 || total > SIGNALS_MAX || run.inflight < 1 || run.inflight > LANES_MAX || !run.template_count) {
    snprintf(problem, size, "count, inflight or template is missing or over its limit");
    return false;
  }
  for (int i = 0; i < run.template_count; i++)
    if (!load(&templates[i], run.templates[i])) {
      snprintf(problem, size, "a template cannot be read: head, blank line, body");
      return false;
    }
  idle_count = 0;
  for (int i = 0; i < run.inflight; i++) {
    lane_reset(i);
    if (!lanes[i]) {
      snprintf(problem, size, "nobody listens on the target port %d", run.target_port);
      return false;
    }
    idle[idle_count++] = lanes[i];
  }
  free(marks);
  marks = calloc(total, sizeof *marks);
  sent = acked = orders = late = errors = 0;
  stopped = batch_done = false;
  first_error[0] = 0;
  started = next_due = now_us();
  ended = 0;
  return true;
}

static void fire(double due) {
  Conn *lane = idle[--idle_count];
  Template *t = &templates[sent % run.template_count];
  fill(t, run.first_id + sent);
  lane->signal = sent;
  marks[sent++].sent = due ? due : now_us();
  conn_send(lane, t->text, t->len);
}

static void stop(const char *why, size_t len) {
  stopped = true;
  ended = now_us();
  for (size_t i = 0, k = 0; i < len && k < sizeof first_error - 1 && !errors; i++, k++) {
    unsigned char ch = (unsigned char)why[i];
    first_error[k] = ch < ' ' || ch > '~' || ch == '"' || ch == '\\' ? ' ' : (char)ch;
    first_error[k + 1] = 0;
  }
}

static bool out(long signal) { return marks[signal].ack && (run.n == 0 || marks[signal].last); }

// A closed batch is complete: rest gap_us, then the next one.
static void batch_step(void) {
  if (!closed_loop() || !sent || sent > total || next_due < INFINITY) return;
  if (out(sent - 1)) next_due = sent < total ? now_us() + run.gap_us : INFINITY;
}

void signal_step(double now) {
  if (stopped || !started) return;
  batch_step();
  if (closed_loop()) {
    if (sent < total && now >= next_due && idle_count) {
      next_due = INFINITY;
      fire(0);
    } else if (sent && !out(sent - 1) && now > marks[sent - 1].sent + run.batch_deadline_us) {
      stop("a batch did not become complete in time", 39);
    }
  } else {
    while (sent < total && idle_count) {
      double due = open_loop() ? started + sent * 1e6 / run.rate_per_s : 0;
      if (due > now) break;
      fire(due);
    }
  }
  if (now > started + run.deadline_us) stop("the run did not end in time", 27);
}

void signal_order(double stamp) {
  if (!marks || orders >= sent * run.n) {
    extra++;
    return;
  }
  if (stopped) late++;
  Mark *m = &marks[orders / run.n];
  if (orders++ % run.n == 0) m->first = stamp;
  if (orders % run.n == 0) {
    m->last = stamp;
    batch_done = true;
  }
}

void signal_read(Conn *lane, double stamp) {
  size_t head, size;
  while (lane->in.len && (size = http_size(lane->in.data, lane->in.len, &head))) {
    if (lane->signal >= 0) {
      marks[lane->signal].ack = stamp;
      acked++;
      lane->signal = -1;
      idle[idle_count++] = lane;
    }
    if (memcmp(lane->in.data, "HTTP/1.1 202", 12)) {
      stop(lane->in.data, size);
      errors++;
    }
    buffer_drop(&lane->in, size);
  }
}

void signal_closed(Conn *lane) {
  bool busy = lane->signal >= 0;
  conn_close(lane);
  for (int i = 0; i < run.inflight; i++)
    if (lanes[i] == lane) lanes[i] = NULL;
  int kept = 0;
  for (int i = 0; i < idle_count; i++)
    if (idle[i] != lane) idle[kept++] = idle[i];
  idle_count = kept;
  if (!busy && signal_finished()) return;
  stop("the gateway closed a signal connection", 38);
  errors++;
}

bool signal_batch_done(void) {
  bool done = batch_done;
  batch_done = false;
  return done;
}

bool signal_finished(void) {
  if (!ended && acked == total && orders >= total * run.n) ended = now_us();
  return ended > 0;
}

double signal_next_due(void) {
  if (!started || ended || stopped) return INFINITY;
  double limit = started + run.deadline_us;
  if (!closed_loop()) return open_loop() && idle_count && sent < total ? started + sent * 1e6 / run.rate_per_s : limit;
  return sent < total && next_due < INFINITY ? next_due : marks[sent ? sent - 1 : 0].sent + run.batch_deadline_us;
}

// --- the report

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Nearest rank: the smallest value that at least share of all values do not exceed.
static double rank(const double *sorted, long n, double share) {
  long at = (long)ceil(share * n) - 1;
  return sorted[at < 0 ? 0 : at];
}

static void print_series(const char *name, size_t offset) {
  double *v = malloc((total + 1) * sizeof *v);
  long n = 0;
  for (long i = run.warmup; i < sent; i++) {
    double at = *(double *)((char *)&marks[i] + offset);
    if (at) v[n++] = at - marks[i].sent;
  }
  qsort(v, n, sizeof *v, ascending);
  if (n)
    printf(", \"%s_p50\": %.1f, \"%s_p90\": %.1f, \"%s_p99\": %.1f, \"%s_max\": %.1f", name, rank(v, n, .5), name,
           rank(v, n, .9), name, rank(v, n, .99), name, v[n - 1]);
  free(v);
}

void signal_report(void) {
  double first = marks[run.warmup < sent ? run.warmup : 0].sent, last = first;
  for (long i = run.warmup; i < sent; i++) last = fmax(last, fmax(marks[i].ack, marks[i].last));
  double span = (last - first) / 1e6;
  long counted = sent > run.warmup ? sent - run.warmup : 0, stamped = orders + extra + broker_stalled_orders();
  printf("{\"n\": %d, \"signals\": %ld, \"orders\": %ld, \"missing\": %ld, \"late\": %ld, \"extra\": %ld, "
         "\"stalled_orders\": %ld, \"unanswered\": %ld, \"errors\": %ld, \"first_error\": \"%s\", "
         "\"order_bytes\": %.1f, \"span_s\": %.6f, \"signals_per_s\": %.1f",
         run.n, sent, orders, sent * run.n - orders + late, late, extra, broker_stalled_orders(), sent - acked, errors,
         first_error, stamped ? (double)broker_order_bytes() / stamped : 0.0, span, span > 0 ? counted / span : 0.0);
  print_series("ack", offsetof(Mark, ack));
  print_series("first", offsetof(Mark, first));
  print_series("last", offsetof(Mark, last));
  printf("}\n");
  fflush(stdout);
  for (int i = 0; i < LANES_MAX; i++)
    if (lanes[i]) conn_close(lanes[i]), lanes[i] = NULL;
  extra = 0;
  started = 0;
  free(marks);
  marks = NULL;
}
