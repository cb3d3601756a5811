#include "storage/log_dir.h"

#include <cerrno>

#include "base/log.h"
#include "base/random.h"
#include "storage/flusher.h"

namespace odradek::storage {

bool is_disk_failure(const Error& error) {
  return error.os_error != 0 && error.os_error != EMFILE && error.os_error != ENFILE && error.os_error != ENOMEM;
}

LogDir::LogDir(base::Runtime& runtime, std::string path, uint32_t number, FileCache& cache, const Options& options)
    : path_(std::move(path)),
      number_(number),
      files_(runtime.files()),
      clock_(runtime.clock()),
      random_(runtime.random()),
      cache_(cache),
      options_(options),
      reader_(runtime.make_executor("reader-" + std::to_string(number), 1)),
      flusher_(std::make_unique<Flusher>(runtime, "flush-" + std::to_string(number), options.flush_threads)) {}

LogDir::~LogDir() = default;

void LogDir::stop_flusher() { flusher_->stop(); }

void LogDir::fail(const Error& error) {
  if (!is_disk_failure(error)) {
    log::error("storage", "{}: {}", path_, error.what);
    return;
  }
  if (!online_.exchange(false, std::memory_order_acq_rel)) return;
  log::error("storage", "log dir {} goes offline: {}", path_, error.what);
  if (on_failure_) on_failure_(*this);
}

}  // namespace odradek::storage
