/* An ordinary libfcgi program, as people wrote them for mod_fastcgi: tells what it was asked and gives the body back.
 *   ?size=N    N bytes instead        ?die   ends in the middle of its work, without an answer        ?pid   its process */
#include <fcgi_stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char* variable(const char* name) {
  const char* value = getenv(name);
  return value != NULL ? value : "";
}

static void answer_bytes(long left) {
  printf("Content-Type: application/octet-stream\r\n\r\n");
  for (; left > 0; --left) putchar('a' + (int)(left % 26));
}

static void answer_body(void) {
  char block[8192];
  size_t got;
  printf("Content-Type: application/octet-stream\r\n\r\n");
  while ((got = fread(block, 1, sizeof block, stdin)) > 0) fwrite(block, 1, got, stdout);
}

int main(void) {
  while (FCGI_Accept() >= 0) {
    const char* query = variable("QUERY_STRING");
    if (strncmp(query, "size=", 5) == 0) {
      answer_bytes(atol(query + 5));
    } else if (strcmp(query, "die") == 0) {
      _exit(3);
    } else if (strcmp(query, "pid") == 0) {
      printf("Content-Type: text/plain\r\n\r\n%ld", (long)getpid());
    } else if (strcmp(variable("REQUEST_METHOD"), "POST") == 0) {
      answer_body();
    } else {
      fprintf(stderr, "libfcgi_echo was asked for %s\n", variable("PATH_INFO"));
      printf("Status: 202 Taken\r\nContent-Type: text/plain\r\nX-Nonce: %s\r\n\r\n", variable("HTTP_X_NONCE"));
      printf("%s %s %s ?%s", variable("REQUEST_METHOD"), variable("SCRIPT_NAME"), variable("PATH_INFO"), query);
    }
  }
  return 0;
}
