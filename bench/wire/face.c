// A face is a port that speaks one broker's order wire, as its card (brokers/<code>/order.wire) describes it.
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

Face faces[FACES_MAX] = {{.takes_all = true, .http_answer = "{\"orderId\":@ORDER@}", .account_key = "\"accountId\":"}};
int face_count = 1;

static void keep(char *into, const char *value) {
  if (strlen(value) >= TEXT_BYTES_MAX) die("a line of a card is too long");
  strcpy(into, value);
}

static void keep_one_more(char into[][TEXT_BYTES_MAX], int *count, const char *value) {
  if (*count == ROUTES_MAX) die("a card has too many order-path or order-frame lines");
  keep(into[(*count)++], value);
}

static void take_line(Face *f, const char *key, const char *value) {
  if (!strcmp(key, "order-path")) keep_one_more(f->paths, &f->path_count, value);
  else if (!strcmp(key, "order-frame")) keep_one_more(f->frames, &f->frame_count, value);
  else if (!strcmp(key, "http-answer")) keep(f->http_answer, value);
  else if (!strcmp(key, "frame-answer")) keep(f->frame_answer, value);
  else if (!strcmp(key, "socket-path")) keep(f->socket_path, value);
  else if (!strcmp(key, "account-key")) keep(f->account_key, value);
  else die("unknown key in a card; see bench/README.md");
}

// CARD or CARD,UPSTREAM_PORT
Face *face_load(const char *argument) {
  char path[1024], line[1024];
  if (face_count == FACES_MAX) die("too many faces");
  Face *f = &faces[face_count++];
  snprintf(path, sizeof path, "%s", argument);
  char *comma = strrchr(path, ',');
  if (comma) *comma = 0, f->upstream_port = atoi(comma + 1);
  FILE *card = fopen(path, "r");
  if (!card) die(path);
  while (fgets(line, sizeof line, card)) {
    line[strcspn(line, "\r\n")] = 0;
    char *space = strchr(line, ' ');
    if (!*line || *line == '#') continue;
    if (!space) die("a line of a card is `key value`");
    *space = 0;
    take_line(f, line, space + 1);
  }
  fclose(card);
  return f;
}

// Is this request line (its `POST /path?query HTTP/1.1`) an order?
bool face_path_matches(const Face *f, const char *line, size_t len) {
  if (len < 5 || strncmp(line, "POST ", 5)) return false;
  if (f->takes_all) return true;
  const char *end = memchr(line + 5, ' ', len - 5), *query = memchr(line + 5, '?', len - 5);
  if (query && (!end || query < end)) end = query;
  size_t size = end ? (size_t)(end - line) : len;
  for (int i = 0; i < f->path_count; i++) {
    size_t w = strlen(f->paths[i]);
    if (size >= w + 5 && !strncasecmp(line + size - w, f->paths[i], w)) return true;
  }
  return false;
}

// The request number on the second line when this text is an order, else -1.
long face_frame_request(const Face *f, const char *text, size_t len) {
  for (int i = 0; i < f->frame_count; i++) {
    size_t w = strlen(f->frames[i]);
    if (len > w + 1 && text[w] == '\n' && !strncasecmp(text, f->frames[i], w)) return strtol(text + w + 1, NULL, 10);
  }
  return -1;
}

// The answer with its numbers filled in; returns its size.
int face_answer(const char *shape, long order, long request, char *out, size_t size) {
  size_t n = 0;
  while (*shape && n + 24 < size) {
    if (!strncmp(shape, "@ORDER@", 7)) n += snprintf(out + n, size - n, "%ld", order), shape += 7;
    else if (!strncmp(shape, "@REQUEST@", 9)) n += snprintf(out + n, size - n, "%ld", request), shape += 9;
    else out[n++] = *shape++;
  }
  if (*shape) die("an answer is too long");
  return (int)n;
}
