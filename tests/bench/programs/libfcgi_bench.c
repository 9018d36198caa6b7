/* The bench's application as an ordinary libfcgi program (so that it is a CGI program too): "Hello, world", or as many
 * bytes as the query says, or the size of what was uploaded. */
#include <fcgi_stdio.h>
#include <stdlib.h>
#include <string.h>

static char block[32768];

static void answer_upload(void) {
  long long received = 0;
  size_t got;
  while ((got = fread(block, 1, sizeof block, stdin)) > 0) received += (long long)got;
  printf("%lld\n", received);
}

static void answer_bytes(long long left) {
  memset(block, 0, sizeof block);
  while (left > 0) {
    size_t size = left < (long long)sizeof block ? (size_t)left : sizeof block;
    if (fwrite(block, 1, size, stdout) != size) return;
    left -= (long long)size;
  }
}

int main(void) {
  while (FCGI_Accept() >= 0) {
    const char* length = getenv("CONTENT_LENGTH");
    const char* query = getenv("QUERY_STRING");
    printf("Content-Type: text/plain\r\n\r\n");
    if (length != NULL && atoll(length) > 0)
      answer_upload();
    else if (query != NULL && *query != '\0')
      answer_bytes(atoll(query));
    else
      printf("Hello, world\n");
  }
  return 0;
}
