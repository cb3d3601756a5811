#include "metrics/process_metrics.h"

#include <sys/resource.h>

#include <charconv>
#include <optional>
#include <string>

#include "base/file.h"

namespace odradek::metrics {
namespace {

// A file of /proc has no size: it is read as far as it goes.
std::string read_proc(base::FileSystem& files, const std::string& path) {
  auto file = files.open(path, base::OpenMode::kRead);
  if (!file) return {};
  Bytes buffer(8192);
  auto size = (*file)->pread(0, buffer);
  return size ? std::string(as_text(ByteView(buffer).first(*size))) : std::string();
}

// The number behind "<name>:" in /proc/self/status.
std::optional<int64_t> field(const std::string& status, std::string_view name) {
  size_t at = status.find("\n" + std::string(name) + ":");
  if (at == std::string::npos) return std::nullopt;
  const char* end = status.data() + status.size();
  const char* from = status.data() + at + name.size() + 2;
  while (from < end && (*from == ' ' || *from == '\t')) ++from;
  int64_t value = 0;
  if (std::from_chars(from, end, value).ec != std::errc{}) return std::nullopt;
  return value;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

std::vector<Registration> register_process_metrics(Registry& registry, base::Runtime& runtime) {
  base::FileSystem& files = runtime.files();
  double start = static_cast<double>(runtime.clock().wall_ms()) / 1000;
  std::vector<Registration> registrations;
  registrations.push_back(registry.callback(kProcessCpu, {}, cpu_seconds));
  registrations.push_back(registry.callback(kProcessMaxFds, {}, [&files] { return static_cast<double>(files.max_open_files()); }));
  registrations.push_back(registry.callback(kProcessStartTime, {}, [start] { return start; }));
  registrations.push_back(registry.collector(kProcessOpenFds, [&files](SampleSink& sink) {
    if (auto entries = files.list("/proc/self/fd")) sink.add({}, static_cast<int64_t>(entries->size()) - 1);  // less the one of the listing
  }));
  registrations.push_back(registry.collector({&kProcessResidentMemory, &kProcessVirtualMemory, &kProcessThreads}, [&files](std::vector<SampleSink*>& sinks) {
    std::string status = read_proc(files, "/proc/self/status");
    if (auto resident = field(status, "VmRSS")) sinks[0]->add({}, *resident * 1024);
    if (auto size = field(status, "VmSize")) sinks[1]->add({}, *size * 1024);
    if (auto threads = field(status, "Threads")) sinks[2]->add({}, *threads);
  }));
  return registrations;
}

}  // namespace odradek::metrics
