// A slow disk, for tests and measurements: a FUSE file system that shows what lies in a folder, and takes its time (tests/lib/slow_disk.py).
//
// usage: slow_disk --delay-ms N [--journal-stalls] BACKING MOUNT
//
// Every write, creation, renaming and so on goes through this process to the same file below BACKING at once; nothing of it stays in the kernel
// but the cache for reading. An fsync or fdatasync, also of a folder, does the same there and takes N ms longer. --journal-stalls: until it is
// over nothing on the whole file system changes, and syncs share what journal.h lets them share. (The kernel itself lets nobody write to the
// very file that is being synced.) Locks and mappings work as on any disk. Runs until it is told to end (SIGTERM, SIGINT) or MOUNT is unmounted.
// A line with a number on standard input is another N, for the syncs that begin from then on; the answer is `ok`.
// Threads: as many as calls wait, and one for standard input.
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "slow_disk/journal.h"

namespace odradek::slow_disk {
namespace {

int backing = -1;  // the folder
std::unique_ptr<Journal> journal;
std::atomic<int> delay_ms = 0;
constexpr std::chrono::milliseconds kGather{15};  // as ext4's max_batch_time

std::optional<int> read_delay(std::string_view word) {
  int number = -1;
  const auto read = std::from_chars(word.data(), word.data() + word.size(), number);
  if (read.ec != std::errc() || read.ptr != word.data() + word.size() || number < 0) return std::nullopt;
  return number;
}

// Until the end of standard input.
void obey() {
  char line[64];
  while (std::fgets(line, sizeof(line), stdin) != nullptr) {
    const std::string_view text(line);
    const auto number = read_delay(text.substr(0, text.find('\n')));
    if (number) delay_ms = *number;
    std::puts(number ? "ok" : "error: not a number of milliseconds");
    std::fflush(stdout);
  }
}

// Paths come from the kernel as "/a/b", and null where a descriptor comes with them.
const char* below(const char* path) { return path[1] == 0 ? "." : path + 1; }
int descriptor(const fuse_file_info* info) { return static_cast<int>(info->fh); }
DIR* directory(const fuse_file_info* info) { return reinterpret_cast<DIR*>(info->fh); }
int outcome(int result) { return result < 0 ? -errno : 0; }

template <class Call>
int change(Call call) {
  journal->before_change();
  return outcome(call());
}

// --- what is only looked at ---------------------------------------------------------------------------------------------------

int get_attributes(const char* path, struct stat* status, fuse_file_info* info) {
  return outcome(info != nullptr ? ::fstat(descriptor(info), status) : ::fstatat(backing, below(path), status, AT_SYMLINK_NOFOLLOW));
}

int read_link(const char* path, char* target, size_t size) {
  const ssize_t got = ::readlinkat(backing, below(path), target, size - 1);
  if (got < 0) return -errno;
  target[got] = 0;
  return 0;
}

int open_file(const char* path, fuse_file_info* info) {
  if ((info->flags & O_TRUNC) != 0) journal->before_change();
  const int opened = ::openat(backing, below(path), info->flags | O_CLOEXEC);
  if (opened < 0) return -errno;
  info->fh = static_cast<uint64_t>(opened);
  return 0;
}

int read_file(const char*, char* into, size_t size, off_t position, fuse_file_info* info) {
  const ssize_t got = ::pread(descriptor(info), into, size, position);
  return got < 0 ? -errno : static_cast<int>(got);
}

int release_file(const char*, fuse_file_info* info) {
  ::close(descriptor(info));
  return 0;
}

int get_space(const char*, struct statvfs* space) { return outcome(::fstatvfs(backing, space)); }

int open_directory(const char* path, fuse_file_info* info) {
  const int opened = ::openat(backing, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return -errno;
  DIR* stream = ::fdopendir(opened);
  if (stream == nullptr) {
    const int error = errno;
    ::close(opened);
    return -error;
  }
  info->fh = reinterpret_cast<uint64_t>(stream);
  return 0;
}

int read_directory(const char*, void* into, fuse_fill_dir_t fill, off_t, fuse_file_info* info, fuse_readdir_flags) {
  ::rewinddir(directory(info));
  errno = 0;
  while (const dirent* entry = ::readdir(directory(info))) {
    struct stat status {};
    status.st_ino = entry->d_ino;
    status.st_mode = static_cast<mode_t>(DTTOIF(entry->d_type));
    if (fill(into, entry->d_name, &status, 0, fuse_fill_dir_flags{}) != 0) return 0;
  }
  return -errno;
}

int release_directory(const char*, fuse_file_info* info) {
  ::closedir(directory(info));
  return 0;
}

// --- changes ------------------------------------------------------------------------------------------------------------------

int create_file(const char* path, mode_t mode, fuse_file_info* info) {
  journal->before_change();
  const int opened = ::openat(backing, below(path), info->flags | O_CREAT | O_CLOEXEC, mode);
  if (opened < 0) return -errno;
  info->fh = static_cast<uint64_t>(opened);
  return 0;
}

int write_file(const char*, const char* bytes, size_t size, off_t position, fuse_file_info* info) {
  journal->before_change();
  const ssize_t put = ::pwrite(descriptor(info), bytes, size, position);
  return put < 0 ? -errno : static_cast<int>(put);
}

int make_directory(const char* path, mode_t mode) {
  return change([&] { return ::mkdirat(backing, below(path), mode); });
}
int remove_file(const char* path) {
  return change([&] { return ::unlinkat(backing, below(path), 0); });
}
int remove_directory(const char* path) {
  return change([&] { return ::unlinkat(backing, below(path), AT_REMOVEDIR); });
}
int make_symbolic_link(const char* target, const char* path) {
  return change([&] { return ::symlinkat(target, backing, below(path)); });
}
int make_link(const char* from, const char* to) {
  return change([&] { return ::linkat(backing, below(from), backing, below(to), 0); });
}
int rename_file(const char* from, const char* to, unsigned flags) {
  return change([&] { return ::renameat2(backing, below(from), backing, below(to), flags); });
}
int set_mode(const char* path, mode_t mode, fuse_file_info* info) {
  return change([&] { return info != nullptr ? ::fchmod(descriptor(info), mode) : ::fchmodat(backing, below(path), mode, 0); });
}
int set_owner(const char* path, uid_t user, gid_t group, fuse_file_info* info) {
  return change([&] {
    return info != nullptr ? ::fchown(descriptor(info), user, group) : ::fchownat(backing, below(path), user, group, AT_SYMLINK_NOFOLLOW);
  });
}
int set_times(const char* path, const timespec times[2], fuse_file_info* info) {
  return change([&] { return info != nullptr ? ::futimens(descriptor(info), times) : ::utimensat(backing, below(path), times, AT_SYMLINK_NOFOLLOW); });
}
int set_size(const char* path, off_t size, fuse_file_info* info) {
  return change([&] {
    if (info != nullptr) return ::ftruncate(descriptor(info), size);
    const int opened = ::openat(backing, below(path), O_WRONLY | O_CLOEXEC);
    if (opened < 0) return -1;
    const int result = ::ftruncate(opened, size);
    const int error = errno;
    ::close(opened);
    errno = error;
    return result;
  });
}
int allocate(const char*, int mode, off_t position, off_t size, fuse_file_info* info) {
  return change([&] { return ::fallocate(descriptor(info), mode, position, size); });
}

// --- syncs --------------------------------------------------------------------------------------------------------------------

int sync_descriptor(int which, bool data_only) {
  return journal->sync([&] { return outcome(data_only ? ::fdatasync(which) : ::fsync(which)); });
}
int sync_file(const char*, int data_only, fuse_file_info* info) { return sync_descriptor(descriptor(info), data_only != 0); }
int sync_directory(const char*, int data_only, fuse_file_info* info) { return sync_descriptor(::dirfd(directory(info)), data_only != 0); }

void* begin(fuse_conn_info*, fuse_config* config) {
  config->use_ino = 1;
  config->kernel_cache = 1;  // all changes come through here
  config->nullpath_ok = 1;
  config->hard_remove = 1;   // open files that are removed need no hidden name: their descriptors are enough
  return nullptr;
}

fuse_operations operations() {
  fuse_operations calls{};
  calls.init = begin;
  calls.getattr = get_attributes;
  calls.readlink = read_link;
  calls.open = open_file;
  calls.read = read_file;
  calls.release = release_file;
  calls.statfs = get_space;
  calls.opendir = open_directory;
  calls.readdir = read_directory;
  calls.releasedir = release_directory;
  calls.create = create_file;
  calls.write = write_file;
  calls.mkdir = make_directory;
  calls.unlink = remove_file;
  calls.rmdir = remove_directory;
  calls.symlink = make_symbolic_link;
  calls.link = make_link;
  calls.rename = rename_file;
  calls.chmod = set_mode;
  calls.chown = set_owner;
  calls.utimens = set_times;
  calls.truncate = set_size;
  calls.fallocate = allocate;
  calls.fsync = sync_file;
  calls.fsyncdir = sync_directory;
  return calls;
}

int run(bool stalls, const char* folder, const char* mount) {
  backing = ::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (backing < 0) {
    std::perror(folder);
    return 1;
  }
  ::umask(0);  // the kernel has taken it into account
  auto gather = [] {
    if (delay_ms > 0) std::this_thread::sleep_for(kGather);
  };
  journal = std::make_unique<Journal>(gather, [] { std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms)); }, stalls);
  const fuse_operations calls = operations();
  std::vector<std::string> words = {"slow_disk", "-o", "fsname=slow_disk"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(arguments.size()), arguments.data());
  fuse* disk = fuse_new(&args, &calls, sizeof(calls), nullptr);
  if (disk == nullptr) return 1;
  int ended = 1;
  if (fuse_mount(disk, mount) == 0) {
    if (fuse_set_signal_handlers(fuse_get_session(disk)) == 0) {
      std::thread(obey).detach();
      fuse_loop_config* loop = fuse_loop_cfg_create();
      fuse_loop_cfg_set_clone_fd(loop, 1);
      fuse_loop_cfg_set_max_threads(loop, 1000);  // a stalled call keeps its thread
      fuse_loop_cfg_set_idle_threads(loop, 100);
      ended = fuse_loop_mt(disk, loop) < 0 ? 1 : 0;
      fuse_loop_cfg_destroy(loop);
      fuse_remove_signal_handlers(fuse_get_session(disk));
    }
    fuse_unmount(disk);
  }
  fuse_destroy(disk);
  return ended;
}

}  // namespace
}  // namespace odradek::slow_disk

int main(int count, char** words) {
  namespace disk = odradek::slow_disk;
  std::optional<int> delay;
  bool stalls = false;
  std::vector<const char*> folders;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--journal-stalls") {
      stalls = true;
    } else if (word == "--delay-ms" && i + 1 < count) {
      delay = disk::read_delay(words[++i]);
    } else {
      folders.push_back(words[i]);
    }
  }
  if (!delay || folders.size() != 2) {
    std::fprintf(stderr, "usage: slow_disk --delay-ms N [--journal-stalls] BACKING MOUNT\n");
    return 2;
  }
  disk::delay_ms = *delay;
  return disk::run(stalls, folders[0], folders[1]);
}
