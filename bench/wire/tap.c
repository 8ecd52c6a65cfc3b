#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

bool pass_through;
Run run;

static int ep;
static bool running;
static const double SETTLE_US = 30e3;  // listened after a run for orders nobody asked for
static const double QUIET_US = 200e3;  // after a stall was lifted: so long no order of those accounts came
static const double DRAIN_US = 5e6;    // ... and not longer than this

double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

void die(const char *what) {
  fprintf(stderr, "tap: %s: %s\n", what, errno ? strerror(errno) : "stopped");
  exit(2);
}

// --- buffers

void buffer_add(Buffer *b, const void *data, size_t len) {
  if (b->len + len > BUFFER_BYTES_MAX) die("a buffer is over its limit: the peer does not read");
  if (b->len + len > b->cap) {
    while (b->cap < b->len + len) b->cap = b->cap ? b->cap * 2 : 4096;
    if (!(b->data = realloc(b->data, b->cap))) die("realloc");
  }
  memcpy(b->data + b->len, data, len);
  b->len += len;
}

void buffer_drop(Buffer *b, size_t len) {
  if (len < b->len) memmove(b->data, b->data + len, b->len - len);
  b->len -= len;
}

// --- connections

Conn *conn_open(int fd, Kind kind, const Face *face) {
  Conn *c = calloc(1, sizeof *c);
  if (!c) die("calloc");
  *c = (Conn){.fd = fd, .kind = kind, .face = face, .signal = -1};
  int one = 1;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
  return c;
}

void conn_close(Conn *c) {
  if (c->closed) return;
  c->closed = true;
  close(c->fd);
  free(c->in.data);
  free(c->out.data);
  c->in = c->out = (Buffer){0};
}

static void conn_flush(Conn *c) {
  size_t done = 0;
  while (done < c->out.len) {
    ssize_t n = write(c->fd, c->out.data + done, c->out.len - done);
    if (n <= 0) break;  // EAGAIN waits for EPOLLOUT; a broken pipe shows itself at the next read
    done += n;
  }
  buffer_drop(&c->out, done);
  bool writing = c->out.len > 0;
  if (writing == c->writing) return;
  c->writing = writing;
  struct epoll_event e = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

void conn_send(Conn *c, const void *data, size_t len) {
  if (c->closed) return;
  buffer_add(&c->out, data, len);
  conn_flush(c);
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

int dial(int port) {
  struct sockaddr_in a = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
    close(fd);
    return -1;
  }
  return fd;
}

static int listen_on(const Face *face) {
  struct sockaddr_in a = loopback(0);
  socklen_t size = sizeof a;
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) die("listen");
  getsockname(fd, (struct sockaddr *)&a, &size);
  conn_open(fd, LISTENER, face);
  return ntohs(a.sin_port);
}

// --- HTTP framing, shared by both sides

const char *find_ci(const char *text, size_t len, const char *word) {
  size_t w = strlen(word);
  for (size_t i = 0; i + w <= len; i++)
    if (!strncasecmp(text + i, word, w)) return text + i;
  return NULL;
}

size_t http_size(const char *text, size_t len, size_t *head) {
  const char *end = memmem(text, len, "\r\n\r\n", 4);
  if (!end) return 0;
  *head = end + 4 - text;
  const char *length = find_ci(text, *head, "\r\ncontent-length:");
  if (length) {
    size_t body = strtoul(length + 17, NULL, 10);
    return len >= *head + body ? *head + body : 0;
  }
  if (!find_ci(text, *head, "\r\ntransfer-encoding: chunked")) return *head;
  const char *last = memmem(text + *head - 2, len - *head + 2, "\r\n0\r\n\r\n", 7);
  return last ? (size_t)(last + 7 - text) : 0;
}

// --- control lines:  run key=value ...   |   quit

static void set_list(const char *value) {
  run.stalled_count = 0;
  for (const char *p = value; *p && run.stalled_count < STALLED_MAX; p += *p == ',') {
    char *end;
    run.stalled[run.stalled_count++] = strtol(p, &end, 10);
    if (end == p) die("stall= takes account numbers");
    p = end;
  }
}

static bool set_run(const char *key, const char *value) {
  double v = atof(value);
  if (!strcmp(key, "target")) run.target_port = (int)v;
  else if (!strcmp(key, "n")) run.n = (int)v;
  else if (!strcmp(key, "count")) run.count = (long)v;
  else if (!strcmp(key, "warmup")) run.warmup = (long)v;
  else if (!strcmp(key, "inflight")) run.inflight = (int)v;
  else if (!strcmp(key, "first_id")) run.first_id = atol(value);
  else if (!strcmp(key, "gap_us")) run.gap_us = v;
  else if (!strcmp(key, "rate")) run.rate_per_s = v;
  else if (!strcmp(key, "delay_ms")) run.delay_us = v * 1e3;
  else if (!strcmp(key, "hold_ms")) run.hold_us = v * 1e3;
  else if (!strcmp(key, "batch_deadline_ms")) run.batch_deadline_us = v * 1e3;
  else if (!strcmp(key, "deadline_s")) run.deadline_us = v * 1e6;
  else if (!strcmp(key, "stall")) set_list(value);
  else if (!strcmp(key, "template") && run.template_count < TEMPLATES_MAX)
    snprintf(run.templates[run.template_count++], sizeof run.templates[0], "%s", value);
  else return false;
  return true;
}

static void refuse(const char *why) {
  printf("{\"problem\": \"%s\"}\n", why);
  fflush(stdout);
}

static void command(char *line) {
  char *rest = NULL, *word = strtok_r(line, " \r", &rest);
  if (!word) return;
  if (!strcmp(word, "quit")) exit(0);
  if (strcmp(word, "run") || running) return refuse("expected one `run key=value ...` at a time, or `quit`");
  run = (Run){.n = 20, .count = 100, .inflight = 1, .hold_us = 5e3, .batch_deadline_us = 5e6,
              .deadline_us = 60e6, .first_id = 1};
  while ((word = strtok_r(NULL, " \r", &rest))) {
    char *equals = strchr(word, '=');
    if (equals) *equals = 0;
    if (!equals || !set_run(word, equals + 1)) return refuse("unknown key; see bench/README.md");
  }
  char problem[256];
  broker_reset();
  if (!signal_start(problem, sizeof problem)) return refuse(problem);
  running = true;
}

static void control_read(Conn *c) {
  char chunk[LINE_BYTES_MAX];
  ssize_t n = read(c->fd, chunk, sizeof chunk);
  if (n == 0) exit(0);  // the parent is gone
  if (n < 0) return;
  buffer_add(&c->in, chunk, n);
  for (char *end; c->in.len && (end = memchr(c->in.data, '\n', c->in.len));) {
    size_t size = end + 1 - c->in.data;
    *end = 0;
    command(c->in.data);
    buffer_drop(&c->in, size);
  }
}

// --- the loop

static void on_readable(Conn *c) {
  static char chunk[READ_BYTES_MAX];
  ssize_t n = read(c->fd, chunk, sizeof chunk);
  double stamp = now_us();
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    if (c->kind == LANE) signal_closed(c);
    else broker_closed(c);
    return;
  }
  buffer_add(&c->in, chunk, n);
  if (c->kind == LANE) signal_read(c, stamp);
  else broker_read(c, stamp);
}

static void on_event(Conn *c, unsigned events) {
  if (c->closed) return;
  if (c->kind == LISTENER) return broker_accept(c);
  if (c->kind == CONTROL) return control_read(c);
  if (events & EPOLLOUT) conn_flush(c);
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
}

static void wait_and_serve(double until) {
  static struct epoll_event events[512];
  double wait = fmin(fmax(until - now_us(), 0), 1e6);
  struct timespec t = {.tv_sec = (long)(wait / 1e6), .tv_nsec = (long)(fmod(wait, 1e6) * 1e3)};
  int n = epoll_pwait2(ep, events, 512, &t, NULL);
  for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events);
}

// After the last signal: wait for the answers to leave, let stalled accounts catch up, listen a little longer.
// Returns when to look again; the run is over once that is now.
static double settle(double now, double *ended) {
  if (!*ended) *ended = now;
  double quiet = *ended + SETTLE_US;
  if (run.stalled_count) quiet = fmin(fmax(*ended, broker_lift_stall()) + QUIET_US, *ended + DRAIN_US);
  if (now < quiet) return quiet;
  *ended = 0;
  running = false;
  signal_report();
  return INFINITY;
}

static void serve(void) {
  double ended = 0;
  for (;;) {
    double now = now_us(), until = INFINITY;
    if (running) signal_step(now);
    broker_release(running && (signal_batch_done() || run.inflight > 1 || run.rate_per_s > 0), now);
    if (running && signal_finished() && !broker_waiting()) until = settle(now, &ended);
    wait_and_serve(fmin(until, fmin(signal_next_due(), broker_next_due())));
  }
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--pass")) pass_through = true;
    else if (!strcmp(argv[i], "--face") && i + 1 < argc) face_load(argv[++i]);
    else die("usage: tap [--pass] [--face CARD[,UPSTREAM_PORT]] ...");
  }
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1000UL);  // 1 us instead of 50: the pace should be the pace
  if ((ep = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
  conn_open(0, CONTROL, NULL);
  printf("{\"raw_port\": %d, \"face_ports\": [", listen_on(&faces[0]));
  for (int i = 1; i < face_count; i++) printf("%s%d", i > 1 ? ", " : "", listen_on(&faces[i]));
  printf("]}\n");
  fflush(stdout);
  serve();
}
