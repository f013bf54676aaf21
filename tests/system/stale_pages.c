/* A network file system's client at its worst, for tests: every process keeps whole pages of the
   files named in STALE_PAGES, changes them in its own copy and writes them out only when it syncs,
   over whatever other processes have written there in the meantime.

   cc -shared -fPIC -o stale_pages.so stale_pages.c -ldl; LD_PRELOAD it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 4096

struct page {
  ino_t file;
  off_t number;
  int descriptor;
  char bytes[PAGE];
};
static struct page* pages[PAGES];
static int used;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void*, size_t, off_t);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void find_real(void) {
  real_pwrite = (ssize_t(*)(int, const void*, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
  real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
}

static int is_stale(int descriptor) {
  const char* name = getenv("STALE_PAGES");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (name == NULL || length < 0) return 0;
  path[length] = '\0';
  return strstr(path, name) != NULL;
}

static struct page* page_of(int descriptor, ino_t file, off_t number) {
  for (int i = 0; i < used; ++i)
    if (pages[i]->file == file && pages[i]->number == number) return pages[i];
  if (used == PAGES) return NULL;
  struct page* page = calloc(1, sizeof *page);
  page->file = file;
  page->number = number;
  page->descriptor = dup(descriptor);
  if (pread(descriptor, page->bytes, PAGE, number * PAGE) < 0) return NULL;
  return pages[used++] = page;
}

static void flush(void) {
  for (int i = 0; i < used; ++i) {
    real_pwrite(pages[i]->descriptor, pages[i]->bytes, PAGE, pages[i]->number * PAGE);
    close(pages[i]->descriptor);
    free(pages[i]);
  }
  used = 0;
}

ssize_t pwrite64(int descriptor, const void* from, size_t count, off_t offset) {
  struct stat status;
  if (!is_stale(descriptor) || fstat(descriptor, &status) != 0)
    return real_pwrite(descriptor, from, count, offset);
  pthread_mutex_lock(&mutex);
  size_t done = 0;
  while (done < count) {
    const off_t at = offset + (off_t)done;
    struct page* page = page_of(descriptor, status.st_ino, at / PAGE);
    size_t piece = (size_t)(PAGE - at % PAGE);
    if (page == NULL) break;
    if (piece > count - done) piece = count - done;
    memcpy(page->bytes + at % PAGE, (const char*)from + done, piece);
    done += piece;
  }
  pthread_mutex_unlock(&mutex);
  return (ssize_t)done;
}

ssize_t pwrite(int descriptor, const void* from, size_t count, off_t offset) {
  return pwrite64(descriptor, from, count, offset);
}

int fdatasync(int descriptor) {
  pthread_mutex_lock(&mutex);
  flush();
  pthread_mutex_unlock(&mutex);
  return real_fdatasync(descriptor);
}
