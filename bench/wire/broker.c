// Broker side. Orders are stamped and absorbed (or, with --pass, stamped and forwarded); everything else is
// relayed byte for byte to the simulator, with one exception: the upgrade of a socket that carries
// orders loses its Sec-WebSocket-Extensions header, because a compressed frame could not be read here.
#include "tap.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

typedef struct {
  double due;
  Conn *to;
  int size;
  char data[ANSWER_BYTES_MAX];
} Answer;

static Answer answers[ANSWERS_MAX];  // ring: answers leave in the order their orders came
static unsigned long answers_head, answers_tail;
static Answer stalled_answers[STALLED_MAX * 16];
static int stalled_answers_count;
static long order_id = 3500000000, order_bytes, stalled_orders;
static double last_stalled;
static bool stall_lifted;

// --- answers

static void answer_add(Conn *to, double stamp, bool stalled, const char *data, int size) {
  Answer a = {.to = to, .size = size};
  memcpy(a.data, data, size);
  if (stalled && !stall_lifted) {
    if (stalled_answers_count < (int)(sizeof stalled_answers / sizeof a)) stalled_answers[stalled_answers_count++] = a;
    return;
  }
  if (answers_tail - answers_head == ANSWERS_MAX) die("too many answers wait");
  a.due = stamp + (run.delay_us > 0 ? run.delay_us : run.hold_us);
  answers[answers_tail++ % ANSWERS_MAX] = a;
}

void broker_release(bool all, double now) {
  while (answers_head != answers_tail) {
    Answer *a = &answers[answers_head % ANSWERS_MAX];
    if (a->due > now && !(all && run.delay_us == 0)) return;
    conn_send(a->to, a->data, a->size);
    answers_head++;
  }
}

double broker_lift_stall(void) {
  stall_lifted = true;
  for (int i = 0; i < stalled_answers_count; i++)
    conn_send(stalled_answers[i].to, stalled_answers[i].data, stalled_answers[i].size);
  stalled_answers_count = 0;
  return last_stalled;
}

double broker_next_due(void) { return answers_head == answers_tail ? INFINITY : answers[answers_head % ANSWERS_MAX].due; }
long broker_waiting(void) { return (long)(answers_tail - answers_head); }
void broker_reset(void) {
  order_bytes = stalled_orders = 0;
  stall_lifted = false;
}
long broker_order_bytes(void) { return order_bytes; }
long broker_stalled_orders(void) { return stalled_orders; }

// --- orders

static bool is_stalled(const char *key, const char *body, size_t len) {
  size_t key_len = strlen(key);
  if (!run.stalled_count || !key_len) return false;
  const char *at = memmem(body, len, key, key_len);
  long account = at ? strtol(at + key_len, NULL, 10) : 0;
  for (int i = 0; i < run.stalled_count; i++)
    if (run.stalled[i] == account) return true;
  return false;
}

static bool stamp_order(const Face *face, const char *body, size_t len, size_t wire_bytes, double stamp) {
  bool stalled = is_stalled(face->account_key, body, len);
  order_bytes += wire_bytes;
  if (stalled) stalled_orders++, last_stalled = stamp;
  else signal_order(stamp);
  return stalled;
}

static void answer_http(Conn *c, double stamp, bool stalled) {
  char body[TEXT_BYTES_MAX + 24], text[ANSWER_BYTES_MAX];
  int size = face_answer(c->face->http_answer, order_id++, 0, body, sizeof body);
  size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                  "Content-Length: %d\r\n\r\n%.*s", size, size, body);
  answer_add(c, stamp, stalled, text, size);
}

static void answer_frame(Conn *c, double stamp, bool stalled, long request) {
  char text[ANSWER_BYTES_MAX] = {(char)0x81};
  int size = face_answer(c->face->frame_answer, order_id++, request, text + 2, 126);  // one length byte suffices
  text[1] = (char)size;
  answer_add(c, stamp, stalled, text, size + 2);
}

// --- towards the simulator

static Conn *upstream_of(Conn *c) {
  if (c->peer) return c->peer;
  int fd = c->face->upstream_port ? dial(c->face->upstream_port) : -1;
  if (fd < 0) return NULL;
  c->peer = conn_open(fd, UPSTREAM, c->face);
  c->peer->peer = c;
  c->peer->stage = RELAY;
  return c->peer;
}

static bool forward(Conn *c, const char *data, size_t len) {
  Conn *up = upstream_of(c);
  if (!up) {
    static const char gone[] = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    conn_send(c, gone, sizeof gone - 1);
    broker_closed(c);
    return false;
  }
  conn_send(up, data, len);
  return true;
}

static bool forward_upgrade(Conn *c, const char *text, size_t len, size_t line) {
  bool frames = *c->face->socket_path && find_ci(text, line, c->face->socket_path);
  const char *cut = frames ? find_ci(text, len, "\r\nsec-websocket-extensions:") : NULL;
  bool sent;
  if (cut) {
    const char *rest = memmem(cut + 2, text + len - cut - 2, "\r\n", 2);
    sent = forward(c, text, cut - text) && forward(c, rest, text + len - rest);
  } else {
    sent = forward(c, text, len);
  }
  if (!sent) return false;
  c->stage = frames ? FRAMES : RELAY;
  if (frames) c->peer->stage = UPGRADE_ANSWER;
  return true;
}

static void read_requests(Conn *c, double stamp) {
  size_t head, size;
  while (c->in.len && (size = http_size(c->in.data, c->in.len, &head))) {
    const char *text = c->in.data, *eol = memmem(text, head, "\r\n", 2);
    size_t line = eol - text;
    bool order = face_path_matches(c->face, text, line);
    if (order) {
      bool stalled = stamp_order(c->face, text + head, size - head, size, stamp);
      if (!pass_through || c->face->takes_all) answer_http(c, stamp, stalled);
    }
    if (find_ci(text, head, "\r\nupgrade: websocket")) {
      if (!forward_upgrade(c, text, size, line)) return;
      buffer_drop(&c->in, size);
      return broker_read(c, stamp);
    }
    bool absorbed = order && (!pass_through || c->face->takes_all);
    if (!absorbed && !forward(c, text, size)) return;
    buffer_drop(&c->in, size);
  }
}

// --- frames (RFC 6455 section 5.2)

typedef struct { size_t head, size; bool text; const unsigned char *mask; } Frame;

static bool frame_at(const char *data, size_t len, Frame *f) {
  const unsigned char *b = (const unsigned char *)data;
  if (len < 2) return false;
  uint64_t body = b[1] & 0x7f;
  bool masked = b[1] & 0x80;
  int extra = body == 127 ? 8 : body == 126 ? 2 : 0;
  f->head = 2 + extra + (masked ? 4 : 0);
  if (len < f->head) return false;
  if (extra) body = 0;
  for (int i = 0; i < extra; i++) body = body << 8 | b[2 + i];
  f->text = (b[0] & 0x8f) == 0x81;
  f->mask = masked ? b + 2 + extra : NULL;
  if (body > BUFFER_BYTES_MAX) die("a frame is over the buffer limit");
  f->size = f->head + body;
  return len >= f->size;
}

// The payload's first bytes in the clear; returns how many.
static size_t unmask(const char *frame, const Frame *f, char *clear, size_t max) {
  size_t len = f->size - f->head;
  if (len > max) len = max;
  for (size_t i = 0; i < len; i++) clear[i] = (char)(frame[f->head + i] ^ f->mask[i & 3]);
  return len;
}

static bool take_order_frame(Conn *c, const char *frame, const Frame *f, double stamp) {
  char clear[1024];
  if (!f->text || !f->mask) return false;
  size_t len = unmask(frame, f, clear, sizeof clear - 1);
  clear[len] = 0;
  long request = face_frame_request(c->face, clear, len);
  if (request < 0) return false;
  bool stalled = stamp_order(c->face, clear, len, f->size, stamp);
  if (pass_through) return false;
  answer_frame(c, stamp, stalled, request);
  return true;
}

static void read_client_frames(Conn *c, double stamp) {
  size_t at = 0;
  Frame f;
  while (frame_at(c->in.data + at, c->in.len - at, &f)) {
    const char *frame = c->in.data + at;
    if (!take_order_frame(c, frame, &f, stamp) && !forward(c, frame, f.size)) return;
    at += f.size;
  }
  buffer_drop(&c->in, at);
}

// Only whole frames go down, so that an answer of ours never lands inside one of the simulator's.
static void read_upstream_frames(Conn *up) {
  size_t at = 0;
  Frame f;
  while (frame_at(up->in.data + at, up->in.len - at, &f)) at += f.size;
  if (!at) return;
  conn_send(up->peer, up->in.data, at);
  buffer_drop(&up->in, at);
}

static void read_upgrade_answer(Conn *up) {
  const char *end = memmem(up->in.data, up->in.len, "\r\n\r\n", 4);
  if (!end) return;
  bool switched = !strncmp(up->in.data, "HTTP/1.1 101", 12);
  size_t head = end + 4 - up->in.data;
  conn_send(up->peer, up->in.data, head);
  buffer_drop(&up->in, head);
  up->stage = switched ? FRAMES : RELAY;
  if (!switched) up->peer->stage = HTTP;
  if (up->in.len) broker_read(up, 0);
}

// --- entry points

void broker_accept(Conn *listener) {
  for (int fd; (fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) conn_open(fd, CLIENT, listener->face);
}

void broker_read(Conn *c, double stamp) {
  if (c->kind == CLIENT && c->stage == HTTP) return read_requests(c, stamp);
  if (c->kind == CLIENT && c->stage == FRAMES) return read_client_frames(c, stamp);
  if (c->kind == UPSTREAM && c->stage == FRAMES) return read_upstream_frames(c);
  if (c->kind == UPSTREAM && c->stage == UPGRADE_ANSWER) return read_upgrade_answer(c);
  if (!c->peer) return;
  conn_send(c->peer, c->in.data, c->in.len);
  buffer_drop(&c->in, c->in.len);
}

void broker_closed(Conn *c) {
  if (c->peer) conn_close(c->peer);
  conn_close(c);
}
