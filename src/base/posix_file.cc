// The real files: plain system calls, nothing mapped.
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/mutex.h"

namespace odradek::base {
namespace {

tl::unexpected<Error> os_failure(const std::string& what, int error) {
  return fail(kStorageErrorCode, what + ": " + std::strerror(error), error);
}

// cachestat(2), Linux 6.5; the C library of Debian 12 has no wrapper.
struct CacheStatRange {
  uint64_t offset, length;
};
struct CacheStat {
  uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
constexpr long kCacheStatCall = 451;

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~PosixFile() override { ::close(descriptor_); }

  Result<size_t> pread(int64_t position, MutableByteView into) override {
    size_t done = 0;
    while (done < into.size()) {
      ssize_t got = ::pread(descriptor_, into.data() + done, into.size() - done, position + static_cast<int64_t>(done));
      if (got < 0 && errno == ESPIPE) got = ::read(descriptor_, into.data() + done, into.size() - done);  // a pipe has no positions
      if (got == 0) break;
      if (got < 0) {
        if (errno == EINTR) continue;
        return os_failure("read of " + path_, errno);
      }
      done += static_cast<size_t>(got);
    }
    return done;
  }

  Result<void> pwritev(int64_t position, std::span<const ByteView> parts) override {
    size_t part = 0;
    size_t offset = 0;  // inside parts[part]
    while (part < parts.size()) {
      std::array<iovec, 16> vectors;
      size_t count = 0;
      for (size_t i = part; i < parts.size() && count < vectors.size(); ++i) {
        size_t skip = i == part ? offset : 0;
        if (parts[i].size() == skip) continue;
        vectors[count++] = {const_cast<uint8_t*>(parts[i].data()) + skip, parts[i].size() - skip};
      }
      if (count == 0) break;
      ssize_t put = count == 1 ? ::pwrite(descriptor_, vectors[0].iov_base, vectors[0].iov_len, position)
                               : ::pwritev(descriptor_, vectors.data(), static_cast<int>(count), position);
      if (put < 0) {
        if (errno == EINTR) continue;
        return os_failure("write to " + path_, errno);
      }
      position += put;
      auto left = static_cast<size_t>(put);
      while (part < parts.size() && left >= parts[part].size() - offset) {
        left -= parts[part].size() - offset;
        offset = 0;
        ++part;
      }
      offset += left;
    }
    return {};
  }

  Result<void> sync_data() override {
    if (::fdatasync(descriptor_) != 0) return sync_failure("fdatasync of ", errno);
    return {};
  }
  Result<void> sync_all() override {
    if (::fsync(descriptor_) != 0) return sync_failure("fsync of ", errno);
    return {};
  }
  void start_writeback(int64_t position, int64_t size) override {
    (void)::sync_file_range(descriptor_, position, size, SYNC_FILE_RANGE_WRITE);
  }
  Result<void> allocate(int64_t size) override {
    const int64_t before = size == 0 ? 0 : this->size().value_or(0);
    while (::fallocate(descriptor_, 0, 0, size) != 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      if (error == ENOSPC || error == EDQUOT) (void)::ftruncate(descriptor_, before);  // what was taken in part goes back
      return os_failure("allocation of " + path_, error);
    }
    return {};
  }
  Result<void> truncate(int64_t size) override {
    if (::ftruncate(descriptor_, size) != 0) return os_failure("truncation of " + path_, errno);
    return {};
  }
  Result<int64_t> size() override {
    struct stat status;
    if (::fstat(descriptor_, &status) != 0) return os_failure("stat of " + path_, errno);
    return status.st_size;
  }

  bool resident(int64_t position, int64_t size) override {
    if (size <= 0) return true;
    const int64_t first = position / kPage;
    const int64_t last = (position + size - 1) / kPage;
    if (last - first >= 2) {
      CacheStatRange range{static_cast<uint64_t>(position), static_cast<uint64_t>(size)};
      CacheStat stat{};
      if (::syscall(kCacheStatCall, descriptor_, &range, &stat, 0) == 0) {
        // Pages that are just being read in count as cached. They come in rising order, so that the last one tells.
        return stat.cached >= static_cast<uint64_t>(last - first + 1) && byte_is_cached(position + size - 1);
      }
    }
    // One or two pages; older kernels: the ends have to do.
    return byte_is_cached(position + size - 1) && (first == last || byte_is_cached(position));
  }

  void load_into_cache(int64_t position, int64_t size) override {
    // Many pages in one call may hold up whoever wants this processor: not every kernel is preempted inside.
    for (int64_t at = position, step; at < position + size; at += step) {
      step = std::min(position + size - at, kAdviceStep - at % kAdviceStep);
      (void)::posix_fadvise(descriptor_, at, step, POSIX_FADV_WILLNEED);
    }
    // The advice alone does not wait; reading does, on a thread that may. A byte here and there will do: to read all costs a copy, and
    // together with the sending it would make the kernel believe that these pages are used again and again.
    const int64_t end = position + size;
    for (int64_t at = position; at < end;) {
      at += std::min(end - at, kWaitStep);
      uint8_t byte;
      if (::pread(descriptor_, &byte, 1, at - 1) <= 0) break;
    }
    if (resident(position, size)) return;
    // Where the advice means nothing.
    thread_local std::array<uint8_t, 128 * 1024> scratch;
    while (position < end) {
      ssize_t got = ::pread(descriptor_, scratch.data(), static_cast<size_t>(std::min<int64_t>(end - position, scratch.size())), position);
      if (got <= 0) return;
      position += got;
    }
  }
  // In one call: of a folio that lies in two ranges both would leave all.
  void drop_from_cache(int64_t position, int64_t size) override { (void)::posix_fadvise(descriptor_, position, size, POSIX_FADV_DONTNEED); }
  int native_handle() const override { return descriptor_; }

 private:
  static constexpr int64_t kPage = 4096;
  static constexpr int64_t kWaitStep = 32 * 1024;
  static constexpr int64_t kAdviceStep = 128 * 1024;

  // Bytes that were written are lost, whatever the reason is: a disk that is full then is no matter of waiting for room.
  tl::unexpected<Error> sync_failure(const char* what, int error) {
    auto failed = os_failure(what + path_, error);
    if (error == ENOSPC || error == EDQUOT) failed.value().os_error = EIO;
    return failed;
  }

  bool byte_is_cached(int64_t position) {
    uint8_t byte;
    iovec vector{&byte, 1};
    return ::preadv2(descriptor_, &vector, 1, position, RWF_NOWAIT) >= 0 || errno != EAGAIN;
  }

  int descriptor_;
  std::string path_;
};

// What this process has locked. The kernel lets a process lock a file twice, and closing either descriptor ends the lock.
class LockedFiles {
 public:
  using Name = std::pair<dev_t, ino_t>;
  bool has(Name name) {
    MutexLock lock(mutex_);
    return names_.contains(name);
  }
  void add(Name name) {
    MutexLock lock(mutex_);
    names_.insert(name);
  }
  void remove(Name name) {
    MutexLock lock(mutex_);
    names_.erase(name);
  }

 private:
  Mutex mutex_;
  std::set<Name> names_ GUARDED_BY(mutex_);
};
LockedFiles& locked_files() {
  static LockedFiles& files = *new LockedFiles;
  return files;
}

class PosixFileLock final : public FileLock {
 public:
  PosixFileLock(int descriptor, LockedFiles::Name name) : descriptor_(descriptor), name_(name) {}
  ~PosixFileLock() override {
    ::close(descriptor_);
    locked_files().remove(name_);
  }

 private:
  int descriptor_;
  LockedFiles::Name name_;
};

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    int flags = O_CLOEXEC;
    switch (mode) {
      case OpenMode::kRead: flags |= O_RDONLY; break;
      case OpenMode::kReadWrite: flags |= O_RDWR; break;
      case OpenMode::kCreate: flags |= O_RDWR | O_CREAT; break;
      case OpenMode::kCreateExclusive: flags |= O_RDWR | O_CREAT | O_EXCL; break;
      case OpenMode::kTruncate: flags |= O_RDWR | O_CREAT | O_TRUNC; break;
    }
    int descriptor = ::open(path.c_str(), flags, 0644);
    if (descriptor < 0) return os_failure("open of " + path, errno);
    return std::make_unique<PosixFile>(descriptor, path);
  }

  bool exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }

  Result<FileStatus> status(const std::string& path) override {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return os_failure("stat of " + path, errno);
    return FileStatus{status.st_size, status.st_mtim.tv_sec * 1000ll + status.st_mtim.tv_nsec / 1'000'000, S_ISDIR(status.st_mode)};
  }

  Result<void> set_modified(const std::string& path, int64_t modified_ms) override {
    struct timespec times[2];
    times[0].tv_sec = 0;
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = modified_ms / 1000;
    times[1].tv_nsec = modified_ms % 1000 * 1'000'000;
    if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return os_failure("setting the time of " + path, errno);
    return {};
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_failure("rename of " + from + " to " + to, errno);
    return {};
  }
  Result<void> remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return os_failure("removal of " + path, errno);
    return {};
  }
  Result<void> remove_all(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) return os_failure("removal of " + path, error.value());
    return {};
  }
  Result<void> create_directories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return os_failure("creation of directory " + path, error.value());
    return {};
  }

  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return os_failure("listing of " + path, errno);
    std::vector<DirectoryEntry> entries;
    errno = 0;
    while (dirent* entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      bool is_directory = entry->d_type == DT_DIR;
      if (entry->d_type == DT_UNKNOWN || entry->d_type == DT_LNK) {
        struct stat status;
        is_directory = ::stat((path + "/" + name).c_str(), &status) == 0 && S_ISDIR(status.st_mode);
      }
      entries.push_back({std::move(name), is_directory});
    }
    int error = errno;
    ::closedir(directory);
    if (error != 0) return os_failure("listing of " + path, error);
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return entries;
  }

  Result<void> sync_directory(const std::string& path) override {
    int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return os_failure("open of directory " + path, errno);
    int failed = ::fsync(descriptor) != 0 ? errno : 0;
    ::close(descriptor);
    // Some file systems cannot sync a directory; that is no failure of the disk.
    if (failed != 0 && failed != EINVAL) return os_failure("fsync of directory " + path, failed);
    return {};
  }

  Result<DiskSpace> disk_space(const std::string& path) override {
    struct statvfs status;
    if (::statvfs(path.c_str(), &status) != 0) return os_failure("statvfs of " + path, errno);
    auto block = static_cast<int64_t>(status.f_frsize);
    return DiskSpace{static_cast<int64_t>(status.f_blocks) * block, static_cast<int64_t>(status.f_bavail) * block};
  }

  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    // Before it is opened: closing it again would end the lock that is there.
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && locked_files().has({status.st_dev, status.st_ino})) {
      return os_failure("lock on " + path + ", which this process has already", EDEADLK);
    }
    int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0) return os_failure("open of " + path, errno);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (::fcntl(descriptor, F_SETLK, &whole) != 0) {
      int error = errno;
      ::close(descriptor);
      return os_failure("lock on " + path, error);
    }
    (void)::fstat(descriptor, &status);
    const LockedFiles::Name name{status.st_dev, status.st_ino};
    locked_files().add(name);
    return std::make_unique<PosixFileLock>(descriptor, name);
  }

  size_t max_open_files() override {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    return static_cast<size_t>(limit.rlim_cur);
  }
};

}  // namespace

FileSystem& posix_files() {
  static PosixFileSystem& files = *new PosixFileSystem;  // never destroyed: what ends with the process may still remove its files
  return files;
}

Result<Bytes> read_file(FileSystem& files, const std::string& path, int64_t limit) {
  auto file = files.open(path, OpenMode::kRead);
  if (!file) return fail(file.error());
  auto size = (*file)->size();
  if (!size) return fail(size.error());
  auto too_long = [&](int64_t bytes) {
    return fail(kStorageErrorCode, path + " has " + std::to_string(bytes) + " bytes, more than " + std::to_string(limit));
  };
  if (*size > limit) return too_long(*size);
  Bytes content(static_cast<size_t>(*size));
  auto got = (*file)->pread(0, content);
  if (!got) return fail(got.error());
  content.resize(*got);
  if (*size > 0) return content;
  // A pipe (and what the kernel writes, as in /proc) does not tell how much comes.
  for (;;) {
    constexpr size_t kStep = 16 * 1024;
    const size_t before = content.size();
    content.resize(before + kStep);
    got = (*file)->pread(static_cast<int64_t>(before), MutableByteView(content).subspan(before));
    if (!got) return fail(got.error());
    content.resize(before + *got);
    if (static_cast<int64_t>(content.size()) > limit) return too_long(static_cast<int64_t>(content.size()));
    if (*got < kStep) return content;
  }
}

void hold_standard_descriptors() {
  for (int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(number, F_GETFD) >= 0) continue;
    const int opened = ::open("/dev/null", O_RDWR);  // gets the lowest number that is free, which is this one
    if (opened >= 0 && opened != number) ::close(opened);
  }
}

Result<void> write_file_atomically(FileSystem& files, const std::string& path, ByteView content) {
  std::string temporary = path + ".tmp";
  {
    auto file = files.open(temporary, OpenMode::kTruncate);
    if (!file) return fail(file.error());
    auto done = (*file)->pwrite(0, content);
    if (done) done = (*file)->sync_all();
    if (!done) {
      (void)files.remove(temporary);  // it may hold the room that is wanted elsewhere
      return done;
    }
  }
  if (auto done = files.rename(temporary, path); !done) return done;
  size_t slash = path.find_last_of('/');
  return files.sync_directory(slash == std::string::npos ? "." : path.substr(0, slash));
}

}  // namespace odradek::base
