#include "net/reactor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/acceptor.h"
#include "net/network_thread.h"

namespace odradek::net {
namespace {

int64_t default_frame_bytes() {
  struct sysinfo info {};
  int64_t ram = ::sysinfo(&info) == 0 ? static_cast<int64_t>(info.totalram) * info.mem_unit : 0;
  return std::max<int64_t>(256 << 20, ram / 8);
}

int max_socket_of(size_t max_open_files) {
  constexpr size_t kMostKept = 256;
  return static_cast<int>(std::min<size_t>(max_open_files - std::min(max_open_files / 16, kMostKept), std::numeric_limits<int>::max()));
}

// The threads of one listener.
struct Listener {
  Listener(ReactorShared& reactor, const ListenerOptions& options) : shared{options}, reactor_(reactor), options_(options) {
    shared.max_connections = options.max_connections;
    shared.on_queue_room = [this] { acceptor->wake(); };
    shared.pick = [this] {
      base::MutexLock lock(mutex);
      return threads.empty() ? nullptr : threads[next_thread++ % threads.size()];
    };
  }

  // In turn; one whose queue is full is passed over.
  bool deal(const NewSocket& socket) {
    base::MutexLock lock(mutex);
    for (size_t i = 0; i < threads.size(); ++i) {
      if (threads[next_thread++ % threads.size()]->offer(socket)) return true;
    }
    return false;
  }

  void resize(int count) {
    base::MutexLock lock(mutex);
    // Those that have ended meanwhile are buried.
    int64_t now_ns = reactor_.clock.monotonic_ns();
    std::erase_if(retired, [&](auto& thread) {
      if (!thread->has_ended()) return false;
      thread->join();
      past_idle_ns += thread->idle_ns(now_ns);
      return true;
    });
    while (static_cast<int>(threads.size()) > count) {
      threads.back()->retire();
      retired.push_back(std::move(threads.back()));
      threads.pop_back();
    }
    while (static_cast<int>(threads.size()) < count) {
      Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC)), event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
      if (epoll.get() < 0 || event.get() < 0) {
        const int error = errno;
        CHECK(!threads.empty());  // at the start: nobody could be served
        log::error("net", "{}: {} network threads instead of {}: {}", options_.name, threads.size(), count, std::strerror(error));
        return;
      }
      auto thread = std::make_shared<NetworkThread>(reactor_, shared, "net-" + options_.name + "-" + std::to_string(threads.size()), std::move(epoll),
                                                    std::move(event));
      thread->start();
      threads.push_back(std::move(thread));
    }
  }

  void shed() {
    for (auto& thread : all()) thread->shed();
  }

  std::vector<std::shared_ptr<NetworkThread>> all() {
    base::MutexLock lock(mutex);
    auto result = threads;
    result.insert(result.end(), retired.begin(), retired.end());
    return result;
  }

  ListenerShared shared;
  std::unique_ptr<Acceptor> acceptor;
  base::Mutex mutex;
  size_t next_thread GUARDED_BY(mutex) = 0;
  // Shared: a thread that gives away its connections holds on to the one that takes them.
  std::vector<std::shared_ptr<NetworkThread>> threads GUARDED_BY(mutex);
  std::vector<std::shared_ptr<NetworkThread>> retired GUARDED_BY(mutex);
  int64_t past_idle_ns GUARDED_BY(mutex) = 0;

 private:
  ReactorShared& reactor_;
  const ListenerOptions& options_;
};

}  // namespace

struct Reactor::State {
  State(base::Runtime& runtime, ReactorOptions the_options, FrameSink& sink, base::SliceLoader* loader)
      : options(std::move(the_options)),
        clock(runtime.clock()),
        shared{options,
               runtime.clock(),
               sink,
               loader,
               std::make_shared<FrameMemory>(options.queued_max_request_bytes > 0 ? options.queued_max_request_bytes
                                                                                  : default_frame_bytes()),
               ConnectionLimits(options),
               max_socket_of(runtime.files().max_open_files())} {
    shared.on_room = [this] {
      for (auto& listener : listeners) listener->acceptor->wake();
    };
    shared.on_excess = [this] {
      for (auto& listener : listeners) listener->shed();
    };
  }

  const ReactorOptions options;
  base::Clock& clock;
  ReactorShared shared;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::atomic<int> threads{0};
  base::Mutex change_mutex;  // of the number of threads, and the stop
  bool running = false;
  bool stopped = false;
};

Reactor::Reactor(base::Runtime& runtime, ReactorOptions options, FrameSink& sink, base::SliceLoader* loader)
    : state_(std::make_unique<State>(runtime, std::move(options), sink, loader)) {}

Reactor::~Reactor() { stop(); }

Result<void> Reactor::bind() {
  State& state = *state_;
  CHECK(state.listeners.empty());
  std::vector<std::unique_ptr<Listener>> bound;
  for (const ListenerOptions& options : state.options.listeners) {
    auto socket = listen_on(options, state.options);
    if (!socket) return fail(std::move(socket.error()));
    auto listener = std::make_unique<Listener>(state.shared, options);
    Listener* target = listener.get();
    listener->acceptor = std::make_unique<Acceptor>(state.shared, listener->shared, Descriptor(*socket),
                                                    [target](const NewSocket& accepted) { return target->deal(accepted); });
    bound.push_back(std::move(listener));
  }
  state.listeners = std::move(bound);
  return {};
}

void Reactor::start() {
  State& state = *state_;
  CHECK(!state.running && !state.stopped);
  state.running = true;
  for (auto& listener : state.listeners) {
    listener->resize(std::max(listener->shared.options.network_threads, 1));
    state.threads = std::max(listener->shared.options.network_threads, 1);
  }
  for (auto& listener : state.listeners) listener->acceptor->start();
}

std::vector<BoundListener> Reactor::listeners() const {
  std::vector<BoundListener> result;
  for (auto& listener : state_->listeners) {
    const ListenerOptions& options = listener->shared.options;
    result.push_back({options.name, options.protocol, options.host, listener->acceptor->port()});
  }
  return result;
}

void Reactor::drain(std::chrono::milliseconds deadline) {
  State& state = *state_;
  for (auto& listener : state.listeners) listener->acceptor->stop();
  if (!state.running || state.stopped) return;
  struct Left {
    base::Mutex mutex;
    std::condition_variable none;
    size_t threads GUARDED_BY(mutex) = 0;
  };
  // Shared: a thread may report after the deadline.
  auto left = std::make_shared<Left>();
  std::vector<std::shared_ptr<NetworkThread>> threads;
  for (auto& listener : state.listeners) {
    for (auto& thread : listener->all()) threads.push_back(thread);
  }
  {
    base::MutexLock lock(left->mutex);
    left->threads = threads.size();
  }
  for (auto& thread : threads) {
    thread->drain([left] {
      base::MutexLock lock(left->mutex);
      if (--left->threads == 0) left->none.notify_all();
    });
  }
  auto until = std::chrono::steady_clock::now() + deadline;
  base::MutexLock lock(left->mutex);
  while (left->threads != 0) {
    auto now = std::chrono::steady_clock::now();
    if (now >= until) return;
    lock.wait_for(left->none, until - now);
  }
}

void Reactor::stop() {
  State& state = *state_;
  {
    base::MutexLock lock(state.change_mutex);  // a change of the number of threads ends first, and none comes after
    if (state.stopped) return;
    state.stopped = true;
  }
  for (auto& listener : state.listeners) listener->acceptor->stop();
  std::vector<std::shared_ptr<NetworkThread>> threads;
  for (auto& listener : state.listeners) {
    for (auto& thread : listener->all()) threads.push_back(thread);
    base::MutexLock lock(listener->mutex);
    listener->threads.clear();  // nothing is given away any more
    listener->retired.clear();
  }
  for (auto& thread : threads) thread->stop();
  for (auto& thread : threads) thread->join();
}

void Reactor::set_network_threads(int threads) {
  base::MutexLock lock(state_->change_mutex);
  if (!state_->running || state_->stopped) return;
  state_->threads = std::max(threads, 1);
  for (auto& listener : state_->listeners) {
    listener->resize(std::max(threads, 1));
    listener->acceptor->wake();
  }
}

void Reactor::set_network_threads(const std::string& name, int threads) {
  base::MutexLock lock(state_->change_mutex);
  if (!state_->running || state_->stopped) return;
  for (auto& listener : state_->listeners) {
    if (listener->shared.options.name != name) continue;
    listener->resize(std::max(threads, 1));
    listener->acceptor->wake();
  }
}

int Reactor::network_threads() const { return state_->threads.load(std::memory_order_relaxed); }

void Reactor::set_max_connections(int max) {
  state_->shared.limits.set_max_connections(max);
  state_->shared.on_room();
  if (state_->shared.limits.exceeded()) state_->shared.on_excess();
}

void Reactor::set_max_connections_per_ip(int max, std::map<std::string, int> overrides) {
  state_->shared.limits.set_max_per_ip(max, overrides);
}

void Reactor::set_max_connection_creation_rate(int rate) {
  state_->shared.limits.set_creation_rate(rate);
  state_->shared.on_room();
}

void Reactor::set_listener_limits(const std::string& name, int max_connections, int max_connection_creation_rate) {
  for (auto& listener : state_->listeners) {
    if (listener->shared.options.name != name) continue;
    listener->shared.max_connections.store(max_connections, std::memory_order_seq_cst);
    listener->acceptor->set_creation_rate(max_connection_creation_rate);
    listener->acceptor->wake();
    if (listener->shared.connections.load(std::memory_order_seq_cst) > max_connections) listener->shed();
  }
}

std::vector<ListenerStats> Reactor::stats() const {
  std::vector<ListenerStats> result;
  int64_t now_ns = state_->clock.monotonic_ns();
  for (auto& listener : state_->listeners) {
    ListenerStats stats;
    stats.name = listener->shared.options.name;
    stats.connections = listener->shared.connections.load(std::memory_order_relaxed);
    stats.accepted = listener->shared.accepted.load(std::memory_order_relaxed);
    stats.refused = listener->shared.refused.load(std::memory_order_relaxed);
    stats.acceptor_blocked_ns = listener->acceptor->blocked_ns(now_ns);
    for (auto& thread : listener->all()) {
      stats.response_queue += thread->response_queue();
      if (thread->has_ended()) continue;
      ++stats.idle.threads;
      stats.idle.idle_ns += thread->idle_ns(now_ns);
      stats.idle.alive_ns += now_ns - thread->started_ns();
    }
    result.push_back(std::move(stats));
  }
  return result;
}

int64_t Reactor::queued_request_bytes() const { return state_->shared.memory->budget.used_bytes(); }

}  // namespace odradek::net
