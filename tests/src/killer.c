/* Tests preload this into a command. It kills the command at its N-th operation on files below a folder, as SIGKILL
 * would at that moment. Rust's standard library and the C++ libraries go through these functions of the C library.
 *
 *   KILLER_PROGRAM  the name of the program whose operations count
 *   KILLER_FOLDER   the folder, with all links resolved
 *   KILLER_AT       N, from 1; the operation does not happen. A write counts twice: before it, and when half is written
 *   KILLER_ONLY     the name of the operations that count; all if it is not set
 *   KILLER_VICTIM   self, or parent; with parent the operation does happen
 *   KILLER_TEAR     1: half of the unsynced data is lost, as when the machine goes down
 *   KILLER_COUNT    a file that gets a line for each operation
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *folder, *only;
static size_t folder_len;
static long at, seen;
static int active, kills_parent, tears, count_fd = -1;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* Files that were written to, each with the length that is on disk. */
static struct written {
    char path[PATH_MAX];
    off_t synced;
} written[256];
static int num_written;

static struct written *find(const char *path) {
    for (int i = 0; i < num_written; i++)
        if (strcmp(written[i].path, path) == 0)
            return &written[i];
    return NULL;
}

static off_t size_of(const char *path) {
    struct stat file;
    return stat(path, &file) == 0 ? file.st_size : 0;
}

static void forget(const char *path) {
    struct written *own = find(path);
    if (own)
        *own = written[--num_written];
}

static void strike(void) {
    if (kills_parent) {
        kill(getppid(), SIGKILL);
        return;
    }
    for (int i = 0; tears && i < num_written; i++) {
        off_t size = size_of(written[i].path);
        if (size > written[i].synced)
            REAL(truncate)(written[i].path, written[i].synced + (size - written[i].synced) / 2);
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts an operation; returns whether it is the N-th. */
static int due(const char *name, const char *path) {
    if (only && strcmp(only, name) != 0)
        return 0;
    seen++;
    if (count_fd >= 0)
        dprintf(count_fd, "%ld %s %s\n", seen, name, path);
    return seen == at;
}

static int below(const char *path) {
    return strncmp(path, folder, folder_len) == 0 && (path[folder_len] == '/' || path[folder_len] == 0);
}

/* The absolute path of `path` in the folder `dir_fd`; its last part need not exist. */
static const char *whole(int dir_fd, const char *path, char out[PATH_MAX]) {
    char base[PATH_MAX] = "", joined[2 * PATH_MAX], parent[2 * PATH_MAX];
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
        ssize_t len = dir_fd == AT_FDCWD ? (getcwd(base, sizeof base) ? (ssize_t)strlen(base) : -1)
                                         : readlink(link, base, sizeof base - 1);
        base[len < 0 ? 0 : len] = 0;
    }
    snprintf(joined, sizeof joined, "%s%s%s", base, base[0] ? "/" : "", path);
    size_t len = strlen(joined);
    while (len > 1 && joined[len - 1] == '/')
        joined[--len] = 0;
    snprintf(parent, sizeof parent, "%s", joined);
    char *slash = strrchr(parent, '/');
    if (!slash)
        return joined[0] = 0, strcpy(out, "");
    *slash = 0;
    char resolved[PATH_MAX];
    if (!realpath(parent[0] ? parent : "/", resolved))
        snprintf(resolved, sizeof resolved, "%s", parent);
    snprintf(out, PATH_MAX, "%s/%s", resolved, slash + 1);
    return out;
}

static const char *of_fd(int fd, char out[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, out, PATH_MAX - 1);
    out[len < 0 ? 0 : len] = 0;
    return out;
}

static void on_path(const char *name, int dir_fd, const char *path) {
    int before = errno;
    char full[PATH_MAX];
    if (active && below(whole(dir_fd, path, full))) {
        pthread_mutex_lock(&lock);
        if (due(name, full))
            strike();
        pthread_mutex_unlock(&lock);
    }
    errno = before;
}

static void removed(int dir_fd, const char *path) {
    char full[PATH_MAX];
    if (active)
        forget(whole(dir_fd, path, full));
}

static void moved(int from_fd, const char *from, int to_fd, const char *to) {
    if (!active)
        return;
    char source[PATH_MAX], target[PATH_MAX], rest[PATH_MAX];
    whole(from_fd, from, source);
    whole(to_fd, to, target);
    size_t len = strlen(source);
    forget(target);
    for (int i = 0; i < num_written; i++)
        if (strncmp(written[i].path, source, len) == 0 && (written[i].path[len] == '/' || written[i].path[len] == 0)) {
            snprintf(rest, sizeof rest, "%s", written[i].path + len);
            snprintf(written[i].path, PATH_MAX, "%s%s", target, rest);
        }
}

/* Called before a write of `len` bytes. Returns the number of bytes to write before the end, or -1 to write all. */
static ssize_t on_write(int fd, size_t len) {
    char path[PATH_MAX];
    if (!active || !below(of_fd(fd, path)))
        return -1;
    pthread_mutex_lock(&lock);
    if (!find(path) && num_written < 256) {
        snprintf(written[num_written].path, PATH_MAX, "%s", path);
        written[num_written++].synced = size_of(path);
    }
    if (due("write", path))
        strike();
    int half = due("write", path);
    if (half && kills_parent)
        strike();
    pthread_mutex_unlock(&lock);
    return half && !kills_parent ? (ssize_t)(len / 2) : -1;
}

static void on_fd(const char *name, int fd) {
    int before = errno;
    char path[PATH_MAX];
    if (active && below(of_fd(fd, path))) {
        pthread_mutex_lock(&lock);
        if (due(name, path))
            strike();
        struct written *own = find(path);
        if (own && strcmp(name, "sync") == 0)
            own->synced = size_of(path);
        pthread_mutex_unlock(&lock);
    }
    errno = before;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    ssize_t half = on_write(fd, len);
    if (half >= 0) {
        REAL(write)(fd, bytes, half);
        strike();
    }
    return REAL(write)(fd, bytes, len);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset) {
    ssize_t half = on_write(fd, len);
    if (half >= 0) {
        REAL(pwrite64)(fd, bytes, half, offset);
        strike();
    }
    return REAL(pwrite64)(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int num) {
    ssize_t half = on_write(fd, num > 0 ? parts[0].iov_len : 0);
    if (half >= 0) {
        REAL(write)(fd, parts[0].iov_base, half);
        strike();
    }
    return REAL(writev)(fd, parts, num);
}

static int changes(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

#define OPEN(name, DIR_ARGS, DIR, FLAGS)                                                                                     \
    int name DIR_ARGS {                                                                                                      \
        mode_t mode = 0;                                                                                                     \
        if (FLAGS & (O_CREAT | __O_TMPFILE)) {                                                                               \
            va_list rest;                                                                                                    \
            va_start(rest, FLAGS);                                                                                           \
            mode = va_arg(rest, mode_t);                                                                                     \
            va_end(rest);                                                                                                    \
        }                                                                                                                    \
        if (changes(FLAGS))                                                                                                  \
            on_path("open", DIR, path);                                                                                      \
        if (active && (FLAGS & O_TRUNC))                                                                                     \
            removed(DIR, path);                                                                                              \
        return REAL(openat)(DIR, path, FLAGS, mode);                                                                         \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, flags)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, flags)
OPEN(openat, (int dir, const char *path, int flags, ...), dir, flags)
OPEN(openat64, (int dir, const char *path, int flags, ...), dir, flags)

#define ON_PATH(name, kind, ARGS, DIR, CALL)                                                                                 \
    int name ARGS {                                                                                                          \
        on_path(kind, DIR, path);                                                                                            \
        return REAL(name) CALL;                                                                                              \
    }

ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, (path, mode))
ON_PATH(mkdirat, "mkdir", (int dir, const char *path, mode_t mode), dir, (dir, path, mode))
ON_PATH(rmdir, "remove", (const char *path), AT_FDCWD, (path))
ON_PATH(chmod, "chmod", (const char *path, mode_t mode), AT_FDCWD, (path, mode))

int truncate(const char *path, off_t len) {
    on_path("truncate", AT_FDCWD, path);
    return REAL(truncate)(path, len);
}

int unlink(const char *path) {
    on_path("remove", AT_FDCWD, path);
    removed(AT_FDCWD, path);
    return REAL(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags) {
    on_path("remove", dir, path);
    removed(dir, path);
    return REAL(unlinkat)(dir, path, flags);
}

int rename(const char *from, const char *to) {
    on_path("rename", AT_FDCWD, to);
    int result = REAL(rename)(from, to);
    if (result == 0)
        moved(AT_FDCWD, from, AT_FDCWD, to);
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    on_path("rename", to_dir, to);
    int result = REAL(renameat)(from_dir, from, to_dir, to);
    if (result == 0)
        moved(from_dir, from, to_dir, to);
    return result;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    on_path("rename", to_dir, to);
    int result = REAL(renameat2)(from_dir, from, to_dir, to, flags);
    if (result == 0)
        moved(from_dir, from, to_dir, to);
    return result;
}

int link(const char *from, const char *to) {
    on_path("link", AT_FDCWD, to);
    return REAL(link)(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    on_path("link", to_dir, to);
    return REAL(linkat)(from_dir, from, to_dir, to, flags);
}

int fsync(int fd) {
    on_fd("sync", fd);
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    on_fd("sync", fd);
    return REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t len) {
    on_fd("truncate", fd);
    int result = REAL(ftruncate64)(fd, len);
    char path[PATH_MAX];
    struct written *own = active ? find(of_fd(fd, path)) : NULL;
    if (own && own->synced > len)
        own->synced = len;
    return result;
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

__attribute__((constructor)) static void begin(void) {
    char own[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    own[len < 0 ? 0 : len] = 0;
    const char *program = getenv("KILLER_PROGRAM"), *name = strrchr(own, '/');
    folder = getenv("KILLER_FOLDER");
    if (!program || !folder || !name || strcmp(program, name + 1) != 0)
        return;
    folder_len = strlen(folder);
    only = getenv("KILLER_ONLY");
    at = getenv("KILLER_AT") ? atol(getenv("KILLER_AT")) : 0;
    const char *victim = getenv("KILLER_VICTIM"), *tear = getenv("KILLER_TEAR"), *count = getenv("KILLER_COUNT");
    kills_parent = victim && strcmp(victim, "parent") == 0;
    tears = tear && strcmp(tear, "1") == 0;
    if (count)
        count_fd = REAL(openat)(AT_FDCWD, count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    active = 1;
}
