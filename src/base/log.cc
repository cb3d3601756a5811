#include "base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <shared_mutex>

#include "base/log_listener.h"

namespace odradek::log {
namespace {

constexpr std::string_view kStateChange = "state-change";
constexpr const char* kPattern = "[%Y-%m-%d %H:%M:%S,%e] %v";  // Kafka's own line: [time] LEVEL [logger] text

// A file that is rotated. The library's own sink writes nothing any more once it could not open the next file (no descriptor was left):
// this one opens it again. What comes meanwhile, or finds the disk full, goes to standard error.
class FileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  // Throws if the file cannot be opened.
  FileSink(std::string file, const Options& options)
      : file_(std::move(file)), bytes_(static_cast<size_t>(options.rotate_bytes)), keep_(static_cast<size_t>(options.rotate_keep)) {
    open();
  }

 private:
  using Rotating = spdlog::sinks::rotating_file_sink_st;

  void open() {
    auto opened = std::make_unique<Rotating>(file_, bytes_, keep_);
    opened->set_pattern(kPattern);
    rotating_ = std::move(opened);
  }
  template <class Call>
  bool succeeds(Call call) {
    try {
      call();
      return true;
    } catch (const std::exception& failed) {
      std::fprintf(stderr, "%s\n", failed.what());
      rotating_.reset();
      open_at_ = std::chrono::steady_clock::now() + std::chrono::seconds(1);
      return false;
    }
  }
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (rotating_ == nullptr && std::chrono::steady_clock::now() >= open_at_) succeeds([&] { open(); });
    if (rotating_ != nullptr && succeeds([&] { rotating_->log(message); })) return;
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    (void)std::fwrite(line.data(), 1, line.size(), stderr);
  }
  void flush_() override {
    if (rotating_ != nullptr) succeeds([&] { rotating_->flush(); });
  }

  const std::string file_;
  const size_t bytes_, keep_;
  std::unique_ptr<Rotating> rotating_;
  std::chrono::steady_clock::time_point open_at_;
};

struct State {
  std::shared_ptr<spdlog::logger> logger, controller, state_change;  // the last two: null without files
  std::atomic<Level> root{Level::kInfo};
  std::atomic<bool> has_own_levels{false};
  std::shared_mutex mutex;
  std::map<std::string, Level, std::less<>> own_levels;  // guarded by mutex
  Listener listener;

  State() { logger = make(std::make_shared<spdlog::sinks::stderr_sink_mt>(), "odradek"); }

  static std::shared_ptr<spdlog::logger> make(spdlog::sink_ptr sink, const char* name) {
    auto made = std::make_shared<spdlog::logger>(name, std::move(sink));
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::warn);
    made->set_pattern(kPattern);
    return made;
  }
};

// Never destroyed: threads may log until the process ends.
State& state() {
  static State& instance = *new State;
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kTrace: return spdlog::level::trace;
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

// Names that clients choose stand in lines: none of them begins a line of its own or moves the cursor of who reads the log.
std::string without_controls(std::string_view line) {
  std::string text;
  text.reserve(line.size() + 16);
  for (char c : line) {
    if (is_control(c)) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

Result<void> configure(const Options& options) {
  State& log = state();
  log.root.store(options.level, std::memory_order_relaxed);
  if (options.file.empty()) return {};
  const std::string folder = options.file.substr(0, options.file.rfind('/') + 1);
  try {
    auto open = [&](const std::string& file, const char* name) {
      auto logger = State::make(std::make_shared<FileSink>(file, options), name);
      spdlog::drop(name);
      spdlog::register_logger(logger);
      return logger;
    };
    auto main = open(options.file, "odradek");
    auto controller = open(folder + "controller.log", "odradek-controller");
    log.state_change = open(folder + "state-change.log", "odradek-state-change");
    log.controller = std::move(controller);
    log.logger = std::move(main);
  } catch (const std::exception& failed) {
    return fail(kStorageErrorCode, failed.what());
  }
  spdlog::flush_every(std::chrono::seconds(1));
  return {};
}

void set_level(Level level) { state().root.store(level, std::memory_order_relaxed); }

void set_level(std::string_view logger, Level level) {
  State& log = state();
  std::unique_lock lock(log.mutex);
  log.own_levels.insert_or_assign(std::string(logger), level);
  log.has_own_levels.store(true, std::memory_order_release);
}

void clear_level(std::string_view logger) {
  State& log = state();
  std::unique_lock lock(log.mutex);
  if (auto found = log.own_levels.find(logger); found != log.own_levels.end()) log.own_levels.erase(found);
  log.has_own_levels.store(!log.own_levels.empty(), std::memory_order_release);
}

Level level_of(std::string_view logger) {
  State& log = state();
  if (log.has_own_levels.load(std::memory_order_acquire)) {
    std::shared_lock lock(log.mutex);
    if (auto found = log.own_levels.find(logger); found != log.own_levels.end()) return found->second;
  }
  return log.root.load(std::memory_order_relaxed);
}

bool parse_level(std::string_view text, Level& level) {
  std::string upper;
  for (char c : text) upper += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  if (upper == "FATAL") upper = "ERROR";
  if (upper == "WARNING") upper = "WARN";
  for (Level candidate : {Level::kTrace, Level::kDebug, Level::kInfo, Level::kWarn, Level::kError, Level::kOff}) {
    if (upper == name_of(candidate)) {
      level = candidate;
      return true;
    }
  }
  return false;
}

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kTrace: return "TRACE";
    case Level::kDebug: return "DEBUG";
    case Level::kInfo: return "INFO";
    case Level::kWarn: return "WARN";
    case Level::kError: return "ERROR";
    case Level::kOff: return "OFF";
  }
  return "INFO";
}

void flush() {
  for (auto* logger : {&state().logger, &state().controller, &state().state_change}) {
    if (*logger) (*logger)->flush();
  }
}

void set_listener(Listener listener) { state().listener = std::move(listener); }

bool enabled(std::string_view logger, Level level) {
  if (level < level_of(logger)) return false;
  return level >= Level::kWarn || logger != kStateChange || state().state_change != nullptr;
}

void write(std::string_view logger, Level level, std::string_view line) {
  State& log = state();
  if (log.listener) log.listener(logger, level, line);
  auto& own = logger == "controller" ? log.controller : logger == kStateChange ? log.state_change : log.logger;
  std::string cleaned;
  if (std::any_of(line.begin(), line.end(), is_control)) line = cleaned = without_controls(line);
  (own ? own : log.logger)->log(to_spdlog(level), "{} [{}] {}", name_of(level), logger, line);
}

}  // namespace odradek::log
