// Costs of the reactor alone: a server whose requests are answered at once (in a process of its own), and a generator with N
// connections that keeps `depth` requests in flight on each. Prints rate, CPU of the server per request, and latency.
//   reactor_bench [--connections N] [--depth N] [--bytes N] [--answer N] [--seconds S] [--net N] [--handlers N] [--rate N]
//   reactor_bench --queues     the queue between the threads: lock-free ring beside a locked list
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/mpmc_queue.h"
#include "server/echo_server.h"

using namespace odradek;
using namespace odradek::server;

namespace {

int64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

// User and system time of a process, seconds.
double cpu_seconds(pid_t pid, double* user = nullptr) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  unsigned long utime = 0, stime = 0;
  std::sscanf(text.c_str() + text.rfind(')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &utime, &stime);
  double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (user != nullptr) *user = static_cast<double>(utime) / ticks;
  return static_cast<double>(utime + stime) / ticks;
}

int64_t context_switches(pid_t pid) {
  char command[160];
  std::snprintf(command, sizeof command, "cat /proc/%d/task/*/status | awk '/ctxt_switches/ {s+=$2} END {print s}'", pid);
  FILE* pipe = ::popen(command, "r");
  long sum = 0;
  if (std::fscanf(pipe, "%ld", &sum) != 1) sum = 0;
  ::pclose(pipe);
  return sum;
}

struct Load {
  int connections = 140;
  int depth = 1;
  int bytes = 150;
  int answer = 50;
  double seconds = 5;
  int network_threads = 3;
  int handlers = 8;
  double rate = 0;  // requests per second over all; 0: as many as go
};

[[noreturn]] void serve(const Load& load, int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ServerOptions options;
  net::ListenerOptions listener;
  listener.host = "127.0.0.1";
  listener.network_threads = load.network_threads;
  options.net.listeners = {listener};
  options.net.listen_backlog = 1000;
  options.handler_threads = load.handlers;
  EchoServer server(options);
  int port = server.port();
  (void)!::write(report, &port, sizeof port);
  for (;;) ::pause();
}

struct Client {
  int socket = -1;
  int in_flight = 0;
  size_t left = 0;    // of the answer that is being read
  uint8_t head[4];
  size_t head_size = 0;
  std::deque<int64_t> sent_at;
};

int run(const Load& load) {
  int ports[2];
  if (::pipe(ports) != 0) return 1;
  pid_t child = ::fork();
  if (child == 0) serve(load, ports[1]);
  int port = 0;
  if (::read(ports[0], &port, sizeof port) != sizeof port) return 1;

  std::vector<Client> clients(static_cast<size_t>(load.connections));
  int epoll = ::epoll_create1(0);
  for (size_t i = 0; i < clients.size(); ++i) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    clients[i].socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(clients[i].socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 1;
    int on = 1;
    ::setsockopt(clients[i].socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].socket, &event);
  }
  Bytes request = echo_request(1, Op::kFill, load.answer, Bytes(static_cast<size_t>(load.bytes)));
  Bytes burst;
  for (int i = 0; i < load.depth; ++i) burst.insert(burst.end(), request.begin(), request.end());

  std::vector<float> latencies;
  latencies.reserve(4 << 20);
  std::vector<uint8_t> buffer(1 << 20);
  uint64_t answered = 0;
  int64_t start = now_ns();
  int64_t warm = start + 500'000'000;
  bool measured = false;
  double cpu_before = 0, user_before = 0;
  uint64_t answered_before = 0;
  int64_t switches_before = 0, measure_start = 0;
  rusage own_before{};
  int64_t end = warm + static_cast<int64_t>(load.seconds * 1e9);
  size_t next_client = 0;
  double sent_total = 0;
  auto send_to = [&](Client& client, int count, int64_t at) {
    size_t size = request.size() * static_cast<size_t>(count);
    for (size_t sent = 0; sent < size;) {
      ssize_t step = ::send(client.socket, burst.data() + sent, size - sent, MSG_NOSIGNAL);
      if (step <= 0) std::abort();
      sent += static_cast<size_t>(step);
    }
    for (int i = 0; i < count; ++i) client.sent_at.push_back(at);
    client.in_flight += count;
  };
  if (load.rate == 0) {
    for (Client& client : clients) send_to(client, load.depth, now_ns());
  }
  epoll_event events[256];
  for (;;) {
    int64_t now = now_ns();
    if (!measured && now >= warm) {
      measured = true;
      cpu_before = cpu_seconds(child, &user_before);
      switches_before = context_switches(child);
      ::getrusage(RUSAGE_SELF, &own_before);
      answered_before = answered;
      latencies.clear();
      measure_start = now_ns();
      end = measure_start + static_cast<int64_t>(load.seconds * 1e9);
    }
    if (now >= end) break;
    int timeout = -1;
    if (load.rate > 0) {
      // Open loop: what is due is sent, with the time when it was due.
      double due = static_cast<double>(now - start) / 1e9 * load.rate;
      while (sent_total < due) {
        int64_t at = start + static_cast<int64_t>(sent_total / load.rate * 1e9);
        send_to(clients[next_client++ % clients.size()], 1, at);
        sent_total += 1;
      }
      timeout = 0;
    }
    int count;
    if (load.rate > 0) {
      timespec wait{0, 20'000};
      count = ::epoll_pwait2(epoll, events, 256, &wait, nullptr);
    } else {
      count = ::epoll_wait(epoll, events, 256, timeout);
    }
    now = now_ns();
    for (int i = 0; i < count; ++i) {
      Client& client = clients[events[i].data.u64];
      ssize_t got = ::recv(client.socket, buffer.data(), buffer.size(), 0);
      if (got <= 0) std::abort();
      int finished = 0;
      for (size_t at = 0; at < static_cast<size_t>(got);) {
        if (client.left == 0) {
          client.head[client.head_size++] = buffer[at++];
          if (client.head_size < 4) continue;
          client.left = base::load_be<uint32_t>(client.head);
          client.head_size = 0;
        }
        size_t step = std::min(client.left, static_cast<size_t>(got) - at);
        at += step;
        client.left -= step;
        if (client.left == 0) {
          ++finished;
          latencies.push_back(static_cast<float>(now - client.sent_at.front()) / 1000);
          client.sent_at.pop_front();
        }
      }
      answered += static_cast<uint64_t>(finished);
      client.in_flight -= finished;
      if (load.rate == 0 && finished > 0) send_to(client, finished, now);
    }
  }
  double cpu_after, user_after = 0;
  double elapsed = static_cast<double>(now_ns() - measure_start) / 1e9;
  cpu_after = cpu_seconds(child, &user_after);
  int64_t switches = context_switches(child) - switches_before;
  rusage own{};
  ::getrusage(RUSAGE_SELF, &own);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  double own_cpu = seconds(own.ru_utime) + seconds(own.ru_stime) - seconds(own_before.ru_utime) - seconds(own_before.ru_stime);
  double requests = static_cast<double>(answered - answered_before);
  std::sort(latencies.begin(), latencies.end());
  auto percentile = [&](double p) { return latencies.empty() ? 0 : latencies[static_cast<size_t>(p * static_cast<double>(latencies.size() - 1))]; };
  std::printf("connections %d depth %d bytes %d/%d threads %d+%d: %.0f/s, server %.2f us CPU each (user %.2f), %.2f switches each, "
              "generator %.2f us, p50 %.0f us p99 %.0f us p99.9 %.0f us\n",
              load.connections, load.depth, load.bytes, load.answer, load.network_threads, load.handlers, requests / elapsed,
              (cpu_after - cpu_before) / requests * 1e6, (user_after - user_before) / requests * 1e6,
              static_cast<double>(switches) / requests, own_cpu / requests * 1e6, percentile(0.5), percentile(0.99), percentile(0.999));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return 0;
}

struct LockedQueue {
  explicit LockedQueue(size_t) {}
  bool try_push(int value) {
    std::lock_guard lock(mutex);
    values.push_back(value);
    return true;
  }
  bool try_pop(int& value) {
    std::lock_guard lock(mutex);
    if (values.empty()) return false;
    value = values.front();
    values.pop_front();
    return true;
  }
  std::mutex mutex;
  std::deque<int> values;
};

template <class Queue>
void queue_cost(const char* name, int producers, int consumers) {
  constexpr int kEach = 2'000'000;
  Queue queue(512);
  std::atomic<int64_t> taken{0};
  int64_t start = now_ns();
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  std::vector<std::thread> threads;
  for (int p = 0; p < producers; ++p) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        while (!queue.try_push(int{i})) std::this_thread::yield();
      }
    });
  }
  for (int c = 0; c < consumers; ++c) {
    threads.emplace_back([&] {
      int value;
      int64_t mine = 0;
      while (taken.load(std::memory_order_relaxed) < static_cast<int64_t>(producers) * kEach) {
        if (queue.try_pop(value)) {
          if (++mine % 64 == 0) taken += 64;
        } else {
          taken += mine % 64;
          mine -= mine % 64;
          std::this_thread::yield();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ::getrusage(RUSAGE_SELF, &after);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  double cpu = seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime);
  double values = static_cast<double>(producers) * kEach;
  std::printf("%-10s %d producers %d consumers: %.0f ns, %.0f ns CPU each\n", name, producers, consumers,
              static_cast<double>(now_ns() - start) / values, cpu / values * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  Load load;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--queues") {
      for (auto [producers, consumers] : {std::pair{1, 1}, {3, 8}}) {
        queue_cost<base::MpmcQueue<int>>("lock-free", producers, consumers);
        queue_cost<LockedQueue>("locked", producers, consumers);
      }
      return 0;
    }
    if (i + 1 >= argc) return 2;
    double value = std::atof(argv[++i]);
    if (name == "--connections") load.connections = static_cast<int>(value);
    else if (name == "--depth") load.depth = static_cast<int>(value);
    else if (name == "--bytes") load.bytes = static_cast<int>(value);
    else if (name == "--answer") load.answer = static_cast<int>(value);
    else if (name == "--seconds") load.seconds = value;
    else if (name == "--net") load.network_threads = static_cast<int>(value);
    else if (name == "--handlers") load.handlers = static_cast<int>(value);
    else if (name == "--rate") load.rate = value;
    else return 2;
  }
  return run(load);
}
