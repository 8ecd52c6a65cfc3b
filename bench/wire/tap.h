// The tap: signal client and broker side in one process, so that both ends of a copied signal are stamped by
// one monotonic clock, wire to wire, whatever language the gateway under test is written in.
//   tap.c     event loop, control lines on stdin, one JSON line per run on stdout
//   face.c    what an order looks like on a broker's wire, read from that broker's card
//   broker.c  orders: stamp, absorb, answer; everything else is relayed to the simulator behind
//   signal.c  sends signals at a pace, keeps the marks, sums them up
// Times are microseconds of CLOCK_MONOTONIC held in a double.
#pragma once
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>

enum {
  READ_BYTES_MAX = 256 * 1024,   // one read()
  BUFFER_BYTES_MAX = 64 << 20,   // a peer that lets more pile up is broken: stop
  ANSWERS_MAX = 1 << 15,         // answers waiting for their time, a power of two
  ANSWER_BYTES_MAX = 384,        // one answer, head and body
  STALLED_MAX = 64,              // accounts whose answers are withheld
  TEMPLATES_MAX = 8,             // signal templates used in turn
  LANES_MAX = 256,               // signal connections
  SIGNALS_MAX = 1 << 20,         // signals of one run
  LINE_BYTES_MAX = 8192,         // one control line
  FACES_MAX = 9,                 // the raw face and one per broker
  ROUTES_MAX = 4,                // order-path or order-frame lines of one card
  TEXT_BYTES_MAX = 128,          // one value of a card
};

typedef struct { char *data; size_t len, cap; } Buffer;

typedef enum { CONTROL, LISTENER, CLIENT, UPSTREAM, LANE } Kind;
// What the bytes of one direction are: HTTP messages, an opaque relay, the head that answers an upgrade, frames.
typedef enum { HTTP, RELAY, UPGRADE_ANSWER, FRAMES } Stage;

typedef struct {
  bool takes_all;                         // the raw face: every POST is an order
  int upstream_port;                      // the simulator, 0: none
  int path_count, frame_count;
  char paths[ROUTES_MAX][TEXT_BYTES_MAX];   // ends of HTTP paths that take an order
  char frames[ROUTES_MAX][TEXT_BYTES_MAX];  // first lines of socket messages that carry an order
  char socket_path[TEXT_BYTES_MAX];         // part of the path of a socket that carries orders
  char http_answer[TEXT_BYTES_MAX], frame_answer[TEXT_BYTES_MAX], account_key[TEXT_BYTES_MAX];
} Face;

// A closed connection's record is kept (its buffers are not): an answer may still point at it.
typedef struct Conn {
  int fd;
  Kind kind;
  const Face *face;
  Stage stage;
  struct Conn *peer;  // client <-> upstream
  Buffer in, out;
  bool writing, closed;
  long signal;        // LANE: the signal in flight, or -1
} Conn;

typedef struct {
  int target_port, n, inflight;
  long count, warmup, first_id;
  double gap_us, rate_per_s, delay_us, hold_us, batch_deadline_us, deadline_us;
  char templates[TEMPLATES_MAX][512];
  int template_count;
  long stalled[STALLED_MAX];
  int stalled_count;
} Run;

extern Run run;                           // the run under way, or the last one
extern bool pass_through;                 // --pass: stamp and forward, the simulator answers
extern Face faces[FACES_MAX];             // the first is the raw one
extern int face_count;

// tap.c
double now_us(void);
void die(const char *what);
void buffer_add(Buffer *b, const void *data, size_t len);
void buffer_drop(Buffer *b, size_t len);
Conn *conn_open(int fd, Kind kind, const Face *face);
void conn_close(Conn *c);
void conn_send(Conn *c, const void *data, size_t len);
int dial(int port);
const char *find_ci(const char *text, size_t len, const char *word);
size_t http_size(const char *text, size_t len, size_t *head);  // whole message at text, or 0

// face.c
Face *face_load(const char *argument);
bool face_path_matches(const Face *f, const char *line, size_t len);
long face_frame_request(const Face *f, const char *text, size_t len);
int face_answer(const char *shape, long order, long request, char *out, size_t size);

// broker.c
void broker_accept(Conn *listener);
void broker_read(Conn *c, double stamp);
void broker_closed(Conn *c);
void broker_release(bool all, double now);  // answers that are due; all: also those held for the batch
double broker_lift_stall(void);              // answer stalled accounts from now on; when the last of them wrote
double broker_next_due(void);
long broker_waiting(void);
void broker_reset(void);
long broker_order_bytes(void);
long broker_stalled_orders(void);

// signal.c
bool signal_start(char *problem, size_t size);
void signal_step(double now);               // fire what is due, notice deadlines
void signal_order(double stamp);
void signal_read(Conn *lane, double stamp);
void signal_closed(Conn *lane);
double signal_next_due(void);
bool signal_finished(void);
void signal_report(void);
bool signal_batch_done(void);               // true once after a batch became complete
