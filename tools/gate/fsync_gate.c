// Preloaded into a broker under test (LD_PRELOAD): every call that makes data durable goes through a gate, and nothing goes past it.
//
// FSYNC_GATE names a folder; files in it are looked at anew for each call:
//   hold     lines with a path prefix each (an empty file: every path): such calls wait until the line or the file is gone
//   delay    lines "<ms> <path prefix>": such calls take so much longer
//   fail     lines "<errno> <path prefix>": such calls fail
//   record   is appended to: "enter|leave <thread> <call> <ms> <path>" (ms of the monotonic clock) for fsync, fdatasync, sync_file_range, syncfs, sync, msync
//   bypass   is appended to: "<thread> <call number>" for each of these calls that does not come through here, and for io_uring,
//            O_DSYNC, O_SYNC, RWF_DSYNC and RWF_SYNC. A seccomp filter finds them by the address that a call comes from; they
//            fail with EPERM.
//   clock    8 bytes, if it exists when the program starts: nanoseconds, a native int64, that the clock of the day shows too many (clock_gettime, gettimeofday, time)
//   guarded  exists when the filter is in place
// FSYNC_GATE_PROGRAM, if set, is the file name of the one program that is meant: a filter outlives exec, its address does not, so a
// script that starts the program must not have one.
// Thread: any.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

// gate_call(number, a, b, c, d): the only place from which the filter lets these calls through.
long gate_call(long number, long a, long b, long c, long d);
extern const char gate_call_end[] __attribute__((visibility("hidden")));
#if defined(__x86_64__)
#define GATE_ARCH AUDIT_ARCH_X86_64
__asm__(
    ".text\n.hidden gate_call\n.globl gate_call\n.type gate_call,@function\ngate_call:\n"
    "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nsyscall\n"
    ".hidden gate_call_end\n.globl gate_call_end\ngate_call_end:\nret\n.size gate_call,.-gate_call\n");
#elif defined(__aarch64__)
#define GATE_ARCH AUDIT_ARCH_AARCH64
__asm__(
    ".text\n.hidden gate_call\n.globl gate_call\n.type gate_call,%function\ngate_call:\n"
    "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nsvc #0\n"
    ".hidden gate_call_end\n.globl gate_call_end\ngate_call_end:\nret\n.size gate_call,.-gate_call\n");
#else
#error "no gate for this machine"
#endif

static char folder[PATH_MAX];

static void path_in(char* to, const char* name) {
  strcpy(to, folder);
  strcat(to, "/");
  strcat(to, name);
}

static const volatile int64_t* clock_error;  // mapped from the file `clock`; NULL: the clock is right

int clock_gettime(clockid_t clock, struct timespec* time) {
  static int (*real)(clockid_t, struct timespec*);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, time);
  if (result == 0 && clock_error != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t ns = time->tv_sec * 1000000000ll + time->tv_nsec + *clock_error;
    time->tv_sec = ns / 1000000000;
    time->tv_nsec = ns % 1000000000;
  }
  return result;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != NULL) *to = now.tv_sec;
  return now.tv_sec;
}

static void append(const char* name, const char* line) {
  char path[PATH_MAX];
  path_in(path, name);
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return;
  if (write(file, line, strlen(line)) < 0) { /* the test finds the line missing */
  }
  close(file);
}

static const char* thread_name(char* name) {
  memset(name, 0, 17);
  prctl(PR_GET_NAME, name);
  for (char* c = name; *c != 0; ++c) {
    if (*c == ' ') *c = '_';
  }
  return name;
}

// The number in front of the first line whose prefix fits `path`; -1: none. `numbers`: whether lines begin with one (else: 0).
static long setting(const char* name, const char* path, int numbers) {
  char file_name[PATH_MAX];
  path_in(file_name, name);
  int file = open(file_name, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  char text[8192];
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size < 0) return -1;
  text[size] = 0;
  if (size == 0) return numbers ? -1 : 0;
  char* rest = NULL;
  for (char* line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    long number = 0;
    if (numbers) {
      number = strtol(line, &line, 10);
      while (*line == ' ') ++line;
    }
    if (strncmp(path, line, strlen(line)) == 0) return number;
  }
  return -1;
}

static void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

static long long now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000ll + time.tv_nsec / 1000000;
}

static int through_gate(const char* call, long number, int descriptor, long a, long b, long c, long d) {
  if (folder[0] == 0) {
    long result = gate_call(number, a, b, c, d);
    if (result < 0) errno = (int)-result;
    return result < 0 ? -1 : 0;
  }
  char link[64], path[PATH_MAX] = "-", name[17], line[PATH_MAX + 128];
  if (descriptor >= 0) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
  }
  thread_name(name);
  snprintf(line, sizeof line, "enter %s %s %lld %s\n", name, call, now_ms(), path);
  append("record", line);
  while (setting("hold", path, 0) >= 0) sleep_ms(2);
  long delay = setting("delay", path, 1);
  if (delay > 0) sleep_ms(delay);
  long error = setting("fail", path, 1);
  long result = error > 0 ? -error : gate_call(number, a, b, c, d);
  snprintf(line, sizeof line, "leave %s %s %lld %s\n", name, call, now_ms(), path);
  append("record", line);
  if (result < 0) errno = (int)-result;
  return result < 0 ? -1 : 0;
}

int fsync(int descriptor) { return through_gate("fsync", SYS_fsync, descriptor, descriptor, 0, 0, 0); }
int fdatasync(int descriptor) { return through_gate("fdatasync", SYS_fdatasync, descriptor, descriptor, 0, 0, 0); }
int syncfs(int descriptor) { return through_gate("syncfs", SYS_syncfs, descriptor, descriptor, 0, 0, 0); }
void sync(void) { (void)through_gate("sync", SYS_sync, -1, 0, 0, 0, 0); }
int msync(void* at, size_t size, int flags) { return through_gate("msync", SYS_msync, -1, (long)at, (long)size, flags, 0); }
int sync_file_range(int descriptor, off64_t from, off64_t size, unsigned flags) {
  return through_gate("sync_file_range", SYS_sync_file_range, descriptor, descriptor, from, size, flags);
}

// A thread that blocked SIGSYS would be killed instead of recorded.
int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  static int (*real)(int, const sigset_t*, sigset_t*);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "pthread_sigmask");
  sigset_t without;
  if (set != NULL && how != SIG_UNBLOCK) {
    without = *set;
    sigdelset(&without, SIGSYS);
    set = &without;
  }
  return real(how, set, old);
}

static void on_bypass(int signal, siginfo_t* info, void* context) {
  (void)signal;
  char name[17], line[64];
  snprintf(line, sizeof line, "%s %d\n", thread_name(name), info->si_syscall);
  append("bypass", line);
  ucontext_t* at = context;
#if defined(__x86_64__)
  at->uc_mcontext.gregs[REG_RAX] = -EPERM;
#else
  at->uc_mcontext.regs[0] = (unsigned long)-EPERM;
#endif
}

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define LOW(argument) (FIELD(args) + 8 * (argument))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define TRAP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
// Call `number` with one of `bits` in its argument is a bypass.
#define FLAGGED(number, argument, bits) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 4), LOAD(LOW(argument)), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, 1), TRAP, ALLOW
#define GUARDED(number, ahead) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), (ahead), 0)

#ifndef RWF_DSYNC
#define RWF_DSYNC 2
#define RWF_SYNC 4
#endif

__attribute__((constructor)) static void set_up(void) {
  const char* where = getenv("FSYNC_GATE");
  if (where == NULL || strlen(where) >= sizeof folder - 16) return;
  const char* program_name = getenv("FSYNC_GATE_PROGRAM");
  if (program_name != NULL) {
    char self[PATH_MAX];
    const ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size < 0 ? 0 : size] = 0;
    const char* slash = strrchr(self, '/');
    if (slash == NULL || strcmp(slash + 1, program_name) != 0) return;
  }
  strcpy(folder, where);
  char clock_path[PATH_MAX];
  path_in(clock_path, "clock");
  const int clock_file = open(clock_path, O_RDONLY | O_CLOEXEC);
  if (clock_file >= 0) {
    void* at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, clock_file, 0);
    if (at != MAP_FAILED) clock_error = at;
    close(clock_file);
  }
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_bypass;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSYS, &action, NULL);

  const uint64_t here = (uint64_t)(uintptr_t)gate_call_end;
  struct sock_filter filter[] = {
      LOAD(FIELD(arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GATE_ARCH, 1, 0), TRAP, LOAD(FIELD(nr)),
#ifdef SYS_open
      FLAGGED(SYS_open, 1, O_DSYNC),
#endif
      FLAGGED(SYS_openat, 2, O_DSYNC), FLAGGED(SYS_pwritev2, 5, RWF_DSYNC | RWF_SYNC),
#ifdef SYS_io_uring_setup
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1), TRAP,
#endif
      GUARDED(SYS_fsync, 6), GUARDED(SYS_fdatasync, 5), GUARDED(SYS_sync_file_range, 4), GUARDED(SYS_syncfs, 3), GUARDED(SYS_sync, 2),
      GUARDED(SYS_msync, 1), ALLOW,
      LOAD(FIELD(instruction_pointer)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)here, 0, 3), LOAD(FIELD(instruction_pointer) + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(here >> 32), 0, 1), ALLOW, TRAP,
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) append("guarded", "");
}
