#include "base/memory_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <unordered_map>

namespace odradek::base {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kSector = 512;
using Page = std::array<uint8_t, kPage>;

tl::unexpected<Error> failure(const std::string& what, int error) {
  return fail(kStorageErrorCode, what + ": " + std::strerror(error), error);
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < path.size();) {
    size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) parts.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

}  // namespace

// A file or a directory, as it is now and as it is on the disk.
struct MemoryFiles::Node {
  bool is_directory = false;
  std::map<std::string, NodePtr> entries, durable_entries;

  std::unordered_map<int64_t, std::shared_ptr<Page>> pages, durable_pages;  // shared while they are the same
  std::set<int64_t> dirty;
  int64_t size = 0, durable_size = 0;
  int64_t modified_ms = 0;
  bool cold = false;

  Page& page_for_write(int64_t number, int64_t& used) {
    auto& page = pages[number];
    if (page == nullptr) {
      page = std::make_shared<Page>();
      page->fill(0);
      used += kPage;
    } else if (page.use_count() > 1) {
      page = std::make_shared<Page>(*page);
    }
    dirty.insert(number);
    return *page;
  }
  void make_durable() {
    for (int64_t number : dirty) {
      auto found = pages.find(number);
      if (found == pages.end()) {
        durable_pages.erase(number);
      } else {
        durable_pages[number] = found->second;
      }
    }
    dirty.clear();
    durable_size = size;
  }
  void cut(int64_t new_size, int64_t& used) {
    if (new_size < size) {
      for (auto page = pages.begin(); page != pages.end();) {
        if (page->first * kPage >= new_size) {
          dirty.insert(page->first);
          used -= kPage;
          page = pages.erase(page);
        } else {
          ++page;
        }
      }
      int64_t number = new_size / kPage;
      if (new_size % kPage != 0 && pages.contains(number)) {
        Page& page = page_for_write(number, used);
        std::fill(page.begin() + new_size % kPage, page.end(), uint8_t{0});
      }
    }
    size = new_size;
  }
};

class MemoryFiles::MemoryFile final : public File {
 public:
  MemoryFile(MemoryFiles& files, NodePtr node, std::string path, uint64_t life, bool writable)
      : files_(files), node_(std::move(node)), path_(std::move(path)), life_(life), writable_(writable) {}

  Result<size_t> pread(int64_t position, MutableByteView into) override {
    MutexLock lock(files_.mutex_);
    if (auto ok = enter(FileCall::kRead); !ok) return fail(ok.error());
    if (position < 0) return failure("read of " + path_, EINVAL);
    int64_t end = std::min(node_->size, position + static_cast<int64_t>(into.size()));
    for (int64_t at = position; at < end;) {
      int64_t step = std::min(end - at, kPage - at % kPage);
      auto page = node_->pages.find(at / kPage);
      uint8_t* to = into.data() + (at - position);
      if (page == node_->pages.end()) {
        std::memset(to, 0, static_cast<size_t>(step));
      } else {
        std::memcpy(to, page->second->data() + at % kPage, static_cast<size_t>(step));
      }
      at += step;
    }
    return static_cast<size_t>(std::max<int64_t>(end - position, 0));
  }

  Result<void> pwritev(int64_t position, std::span<const ByteView> parts) override {
    MutexLock lock(files_.mutex_);
    if (auto ok = check_life(); !ok) return ok;
    if (!writable_) return failure("write to " + path_, EBADF);
    if (position < 0) return failure("write to " + path_, EINVAL);
    size_t total = 0;
    for (ByteView part : parts) total += part.size();
    auto allowed = files_.enter(FileCall::kWrite, path_);
    size_t left = allowed ? total : total / 2;
    for (ByteView part : parts) {
      size_t step = std::min(left, part.size());
      if (auto done = put(position, part.first(step)); !done) return done;
      position += static_cast<int64_t>(step);
      left -= step;
    }
    return allowed;
  }

  Result<void> sync_data() override {
    MutexLock lock(files_.mutex_);
    if (auto ok = enter(FileCall::kSync); !ok) return ok;
    node_->make_durable();
    return {};
  }
  Result<void> sync_all() override { return sync_data(); }
  void start_writeback(int64_t, int64_t) override {
    MutexLock lock(files_.mutex_);
    (void)enter(FileCall::kWriteback);
  }

  Result<void> allocate(int64_t size) override {
    MutexLock lock(files_.mutex_);
    if (auto ok = enter(FileCall::kWrite); !ok) return ok;
    if (!writable_) return failure("allocation of " + path_, EBADF);
    const int64_t pages = (size + kPage - 1) / kPage;
    int64_t missing = 0;
    for (int64_t number = 0; number < pages; ++number) missing += !node_->pages.contains(number);
    if (files_.used_ + missing * kPage > files_.capacity_) return failure("allocation of " + path_, ENOSPC);
    for (int64_t number = 0; number < pages; ++number) {
      if (!node_->pages.contains(number)) (void)node_->page_for_write(number, files_.used_);
    }
    node_->size = std::max(node_->size, size);
    return {};
  }
  Result<void> truncate(int64_t size) override {
    MutexLock lock(files_.mutex_);
    if (auto ok = enter(FileCall::kTruncate); !ok) return ok;
    if (!writable_) return failure("truncation of " + path_, EBADF);
    node_->cut(size, files_.used_);
    node_->modified_ms = files_.now_ms();
    return {};
  }
  Result<int64_t> size() override {
    MutexLock lock(files_.mutex_);
    if (auto ok = check_life(); !ok) return fail(ok.error());
    return node_->size;
  }
  bool resident(int64_t, int64_t) override {
    MutexLock lock(files_.mutex_);
    return !node_->cold;
  }
  void load_into_cache(int64_t, int64_t) override {
    MutexLock lock(files_.mutex_);
    node_->cold = false;
  }
  void drop_from_cache(int64_t, int64_t) override {}
  int native_handle() const override { return -1; }

 private:
  Result<void> check_life() REQUIRES(files_.mutex_) {
    if (life_ != files_.life_) return failure("use of " + path_ + " by a process that is dead", EBADF);
    return {};
  }
  Result<void> enter(FileCall call) REQUIRES(files_.mutex_) {
    if (auto ok = check_life(); !ok) return ok;
    return files_.enter(call, path_);
  }
  Result<void> put(int64_t position, ByteView bytes) REQUIRES(files_.mutex_) {
    for (size_t done = 0; done < bytes.size();) {
      int64_t at = position + static_cast<int64_t>(done);
      int64_t step = std::min(static_cast<int64_t>(bytes.size() - done), kPage - at % kPage);
      if (!node_->pages.contains(at / kPage) && files_.used_ + kPage > files_.capacity_) return failure("write to " + path_, ENOSPC);
      Page& page = node_->page_for_write(at / kPage, files_.used_);
      std::memcpy(page.data() + at % kPage, bytes.data() + done, static_cast<size_t>(step));
      done += static_cast<size_t>(step);
      node_->size = std::max(node_->size, at + step);
    }
    node_->modified_ms = files_.now_ms();
    return {};
  }

  MemoryFiles& files_;
  const NodePtr node_;
  const std::string path_;
  const uint64_t life_;
  const bool writable_;
};

class MemoryFiles::MemoryLock final : public FileLock {
 public:
  MemoryLock(MemoryFiles& files, std::string path, uint64_t life) : files_(files), path_(std::move(path)), life_(life) {}
  ~MemoryLock() override {
    MutexLock lock(files_.mutex_);
    if (life_ == files_.life_) files_.locked_.erase(path_);
  }

 private:
  MemoryFiles& files_;
  const std::string path_;
  const uint64_t life_;
};

MemoryFiles::MemoryFiles() : root_(std::make_shared<Node>()) { root_->is_directory = true; }
MemoryFiles::~MemoryFiles() = default;

void MemoryFiles::set_fault(Fault fault) {
  MutexLock lock(mutex_);
  fault_ = std::move(fault);
}
void MemoryFiles::set_clock(const Clock* clock) {
  MutexLock lock(mutex_);
  clock_ = clock;
}
void MemoryFiles::set_capacity(int64_t bytes) {
  MutexLock lock(mutex_);
  capacity_ = bytes;
}
void MemoryFiles::make_cold(const std::string& path) {
  MutexLock lock(mutex_);
  if (NodePtr node = find(path)) node->cold = true;
}
int64_t MemoryFiles::calls(FileCall call) const {
  MutexLock lock(mutex_);
  auto found = calls_.find(call);
  return found == calls_.end() ? 0 : found->second;
}

void MemoryFiles::kill() {
  MutexLock lock(mutex_);
  ++life_;
  locked_.clear();
}

void MemoryFiles::power_cut(Random* random) {
  MutexLock lock(mutex_);
  ++life_;
  locked_.clear();
  forget_unsynced(*root_, random);
  used_ = bytes_below(*root_);  // what no name leads to any more is gone
}

int64_t MemoryFiles::bytes_below(const Node& node) {
  int64_t bytes = static_cast<int64_t>(node.pages.size()) * kPage;
  for (const auto& [name, child] : node.entries) bytes += bytes_below(*child);
  return bytes;
}

int64_t MemoryFiles::used_bytes() const {
  MutexLock lock(mutex_);
  return used_;
}

void MemoryFiles::forget_unsynced(Node& node, Random* random) {
  auto reached_disk = [&] { return random != nullptr && random->below(2) == 0; };
  if (node.is_directory) {
    if (node.entries != node.durable_entries && !reached_disk()) node.entries = node.durable_entries;
    node.durable_entries = node.entries;
    for (auto& [name, child] : node.entries) forget_unsynced(*child, random);
    return;
  }
  for (int64_t number : node.dirty) {
    auto now = node.pages.find(number);
    auto before = node.durable_pages.find(number);
    if (reached_disk()) {
      if (now == node.pages.end() || reached_disk()) continue;
      // Torn: some sectors are the old ones.
      auto page = std::make_shared<Page>(*now->second);
      for (int64_t sector = 0; sector < kPage; sector += kSector) {
        if (reached_disk()) continue;
        if (before == node.durable_pages.end()) {
          std::memset(page->data() + sector, 0, kSector);
        } else {
          std::memcpy(page->data() + sector, before->second->data() + sector, kSector);
        }
      }
      now->second = std::move(page);
    } else if (before == node.durable_pages.end()) {
      node.pages.erase(number);
    } else {
      node.pages[number] = before->second;
    }
  }
  if (node.size != node.durable_size && !reached_disk()) {
    int64_t low = std::min(node.size, node.durable_size);
    int64_t high = std::max(node.size, node.durable_size);
    int64_t size = random == nullptr ? node.durable_size : low + static_cast<int64_t>(random->below(static_cast<uint64_t>(high - low + 1)));
    node.size = std::max(node.size, size);  // pages beyond are cut below
    node.cut(size, used_);
  }
  // Bytes behind the end of the file do not exist.
  std::erase_if(node.pages, [&](const auto& page) { return page.first * kPage >= node.size; });
  node.durable_pages = node.pages;
  node.durable_size = node.size;
  node.dirty.clear();
}

Result<void> MemoryFiles::enter(FileCall call, const std::string& path) {
  ++calls_[call];
  if (int error = fault_ ? fault_(call, path) : 0; error != 0) return failure("call on " + path, error);
  return {};
}

MemoryFiles::NodePtr MemoryFiles::find(const std::string& path) {
  NodePtr node = root_;
  for (const std::string& part : parts_of(path)) {
    auto found = node->entries.find(part);
    if (found == node->entries.end()) return nullptr;
    node = found->second;
  }
  return node;
}

MemoryFiles::NodePtr MemoryFiles::parent_of(const std::string& path, std::string& name) {
  auto parts = parts_of(path);
  if (parts.empty()) return nullptr;
  name = parts.back();
  NodePtr node = root_;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    auto found = node->entries.find(parts[i]);
    if (found == node->entries.end() || !found->second->is_directory) return nullptr;
    node = found->second;
  }
  return node;
}

Result<std::unique_ptr<File>> MemoryFiles::open(const std::string& path, OpenMode mode) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kOpen, path); !ok) return fail(ok.error());
  std::string name;
  NodePtr parent = parent_of(path, name);
  if (parent == nullptr) return failure("open of " + path, ENOENT);
  auto found = parent->entries.find(name);
  NodePtr node = found == parent->entries.end() ? nullptr : found->second;
  if (node != nullptr && node->is_directory) return failure("open of " + path, EISDIR);
  if (node != nullptr && mode == OpenMode::kCreateExclusive) return failure("open of " + path, EEXIST);
  if (node == nullptr) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) return failure("open of " + path, ENOENT);
    node = std::make_shared<Node>();
    node->modified_ms = now_ms();
    parent->entries[name] = node;
  } else if (mode == OpenMode::kTruncate) {
    node->cut(0, used_);
    node->modified_ms = now_ms();
  }
  return std::make_unique<MemoryFile>(*this, std::move(node), path, life_, mode != OpenMode::kRead);
}

bool MemoryFiles::exists(const std::string& path) {
  MutexLock lock(mutex_);
  return find(path) != nullptr;
}

Result<FileStatus> MemoryFiles::status(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kStatus, path); !ok) return fail(ok.error());
  NodePtr node = find(path);
  if (node == nullptr) return failure("stat of " + path, ENOENT);
  return FileStatus{node->size, node->modified_ms, node->is_directory};
}

Result<void> MemoryFiles::set_modified(const std::string& path, int64_t modified_ms) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kSetModified, path); !ok) return ok;
  NodePtr node = find(path);
  if (node == nullptr) return failure("setting the time of " + path, ENOENT);
  node->modified_ms = modified_ms;
  return {};
}

Result<void> MemoryFiles::rename(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kRename, from); !ok) return ok;
  std::string old_name, new_name;
  NodePtr source = parent_of(from, old_name), target = parent_of(to, new_name);
  if (source == nullptr || target == nullptr || !source->entries.contains(old_name)) return failure("rename of " + from, ENOENT);
  NodePtr node = source->entries[old_name];
  source->entries.erase(old_name);
  if (auto replaced = target->entries.find(new_name); replaced != target->entries.end()) used_ -= bytes_below(*replaced->second);
  target->entries[new_name] = std::move(node);
  return {};
}

Result<void> MemoryFiles::remove(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kRemove, path); !ok) return ok;
  std::string name;
  NodePtr parent = parent_of(path, name);
  if (parent == nullptr) return {};
  auto found = parent->entries.find(name);
  if (found == parent->entries.end()) return {};
  if (found->second->is_directory) return failure("removal of " + path, EISDIR);
  used_ -= static_cast<int64_t>(found->second->pages.size()) * kPage;
  parent->entries.erase(found);
  return {};
}

Result<void> MemoryFiles::remove_all(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kRemove, path); !ok) return ok;
  std::string name;
  NodePtr parent = parent_of(path, name);
  if (parent == nullptr) return {};
  auto found = parent->entries.find(name);
  if (found == parent->entries.end()) return {};
  used_ -= bytes_below(*found->second);
  parent->entries.erase(found);
  return {};
}

Result<void> MemoryFiles::create_directories(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kCreateDirectory, path); !ok) return ok;
  NodePtr node = root_;
  for (const std::string& part : parts_of(path)) {
    auto& child = node->entries[part];
    if (child == nullptr) {
      child = std::make_shared<Node>();
      child->is_directory = true;
    }
    if (!child->is_directory) return failure("creation of directory " + path, ENOTDIR);
    node = child;
  }
  return {};
}

Result<std::vector<DirectoryEntry>> MemoryFiles::list(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kList, path); !ok) return fail(ok.error());
  NodePtr node = find(path);
  if (node == nullptr || !node->is_directory) return failure("listing of " + path, node == nullptr ? ENOENT : ENOTDIR);
  std::vector<DirectoryEntry> entries;
  for (auto& [name, child] : node->entries) entries.push_back({name, child->is_directory});
  return entries;
}

Result<void> MemoryFiles::sync_directory(const std::string& path) {
  MutexLock lock(mutex_);
  if (auto ok = enter(FileCall::kSyncDirectory, path); !ok) return ok;
  NodePtr node = find(path);
  if (node == nullptr || !node->is_directory) return failure("fsync of directory " + path, ENOENT);
  node->durable_entries = node->entries;
  return {};
}

Result<DiskSpace> MemoryFiles::disk_space(const std::string&) {
  MutexLock lock(mutex_);
  int64_t total = capacity_ == INT64_MAX ? int64_t{1} << 40 : capacity_;
  return DiskSpace{total, total - used_};
}

Result<std::unique_ptr<FileLock>> MemoryFiles::lock(const std::string& path) {
  {
    auto created = open(path, OpenMode::kCreate);
    if (!created) return fail(created.error());
  }
  MutexLock lock(mutex_);
  if (!locked_.insert(path).second) return failure("lock on " + path, EAGAIN);
  return std::make_unique<MemoryLock>(*this, path, life_);
}

}  // namespace odradek::base
