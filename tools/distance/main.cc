// A way between network namespaces, as long as it is set: tests and measurements of replication over distance (tests/lib/distance.py).
//
// usage: distance [--mtu N] NAME=NETWORK:ADDRESS NAME=NETWORK:ADDRESS ...
//
// Each end gets a TUN device with that IPv4 address in the network namespace NETWORK (as `ip netns` names it; "-": the one in which it
// starts); ends reach each other through this process, at layer 3, so TCP between them behaves as over a real distance. Needs root.
// Prints `ready`, then obeys lines on standard input until its end:
//   set FROM TO key=value ...   "*": every end. Keys: delay_ms, jitter_ms, loss_percent, rate_mb (10^6 bytes a second, 0: no limit),
//                               buffer_ms (longest wait for the rate). One direction: the round trip is the sum of both.
//   stats                       one line of JSON: for each way what was delivered, lost, dropped; packets that the kernel refused
// Answers `ok`, the JSON or `error: why`. All at start: no delay, no loss, no limit.
// Threads: one for each end, which reads its device and delivers what set out there; the first one reads the commands.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distance/link.h"
#include "distance/tun.h"

namespace odradek::distance {
namespace {

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

struct End {
  std::string name;
  uint32_t address = 0;  // as in a packet
  std::unique_ptr<Tun> tun;
  std::vector<std::unique_ptr<Link>> links;  // to each end by index; the own one is not used
  std::atomic<bool> changed{false};          // links have other settings
  std::atomic<uint64_t> refused{0};
  int wake = -1;
  std::thread thread;
};

class Distance {
 public:
  Distance(const std::vector<std::string>& words, int mtu) {
    for (const std::string& word : words) {
      size_t equals = word.find('='), colon = word.rfind(':');
      if (equals == std::string::npos || equals == 0 || colon == std::string::npos || colon < equals) throw std::runtime_error(word + " is not NAME=NETWORK:ADDRESS");
      auto end = std::make_unique<End>();
      end->name = word.substr(0, equals);
      std::string address = word.substr(colon + 1);
      if (inet_pton(AF_INET, address.c_str(), &end->address) != 1) throw std::runtime_error(address + " is no IPv4 address");
      end->tun = std::make_unique<Tun>(word.substr(equals + 1, colon - equals - 1), address, mtu);
      end->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
      ends_.push_back(std::move(end));
    }
    for (size_t from = 0; from < ends_.size(); ++from) {
      for (size_t to = 0; to < ends_.size(); ++to) ends_[from]->links.push_back(std::make_unique<Link>(from * 1000 + to));
    }
    for (auto& end : ends_) end->thread = std::thread([this, &end = *end] { serve(end); });
  }

  ~Distance() {
    stopping_ = true;
    for (auto& end : ends_) {
      wake(*end);
      end->thread.join();
      close(end->wake);
    }
  }

  std::string obey(const std::string& line) {
    std::istringstream words(line);
    std::string word, from, to;
    words >> word;
    if (word == "stats") return stats();
    if (word != "set" || !(words >> from >> to)) return "error: set FROM TO key=value ..., or stats";
    std::vector<std::pair<std::string, double>> values;
    while (words >> word) {
      size_t equals = word.find('=');
      double value = 0;
      const char* end = word.data() + word.size();
      if (equals == std::string::npos || std::from_chars(word.data() + equals + 1, end, value).ptr != end || value < 0) return "error: " + word + " is not key=value";
      values.emplace_back(word.substr(0, equals), value);
    }
    bool found = false;
    for (auto& source : ends_) {
      for (size_t i = 0; i < ends_.size(); ++i) {
        if (ends_[i] == source || (from != "*" && from != source->name) || (to != "*" && to != ends_[i]->name)) continue;
        found = true;
        LinkSettings settings = source->links[i]->settings();
        for (const auto& [key, value] : values) {
          if (!change(settings, key, value)) return "error: no key " + key;
        }
        source->links[i]->configure(settings);
        source->changed = true;
        wake(*source);
      }
    }
    return found ? "ok" : "error: no way from " + from + " to " + to;
  }

 private:
  static bool change(LinkSettings& settings, const std::string& key, double value) {
    auto ns = static_cast<int64_t>(value * 1e6);
    if (key == "delay_ms") return settings.delay_ns = ns, true;
    if (key == "jitter_ms") return settings.jitter_ns = ns, true;
    if (key == "loss_percent") return settings.loss = value / 100, true;
    if (key == "rate_mb") return settings.rate = value * 1e6, true;
    if (key == "buffer_ms") return settings.buffer_ns = ns, true;
    return false;
  }

  static void wake(End& end) {
    uint64_t one = 1;
    if (write(end.wake, &one, sizeof(one)) < 0) return;  // it is awake
  }

  std::string stats() const {
    std::ostringstream json;
    json << "{\"ways\": [";
    const char* comma = "";
    for (const auto& from : ends_) {
      for (size_t i = 0; i < ends_.size(); ++i) {
        if (ends_[i] == from) continue;
        LinkCounts counts = from->links[i]->counts();
        json << comma << "{\"from\": \"" << from->name << "\", \"to\": \"" << ends_[i]->name << "\", \"packets\": " << counts.packets << ", \"bytes\": " << counts.bytes
             << ", \"lost\": " << counts.lost << ", \"dropped\": " << counts.dropped << "}";
        comma = ", ";
      }
    }
    uint64_t refused = 0;
    for (const auto& end : ends_) refused += end->refused;
    json << "], \"refused\": " << refused << "}";
    return json.str();
  }

  void serve(End& end) {
    try {
      prctl(PR_SET_NAME, ("from-" + end.name).substr(0, 15).c_str());
      prctl(PR_SET_TIMERSLACK, 1);
      run(end);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "distance: %s\n", error.what());
      _exit(1);
    }
  }

  void run(End& end) {
    constexpr int kPacketsATurn = 32;
    std::vector<std::byte> packet(kHeaderBytes + 65536);
    while (!stopping_) {
      if (end.changed.exchange(false)) {
        // Single packets can only be lost if there are single packets.
        bool lossy = false;
        for (const auto& link : end.links) lossy |= link->settings().loss > 0 && link->settings().loss < 1;
        end.tun->offload(!lossy);
      }
      int count = 0;
      for (; count < kPacketsATurn; ++count) {
        size_t size = end.tun->read(packet);
        if (size == 0) break;
        route(end, std::span<const std::byte>(packet).first(size));
      }
      int64_t next = INT64_MAX, now = now_ns();
      for (size_t i = 0; i < ends_.size(); ++i) {
        End& to = *ends_[i];
        end.links[i]->deliver(now, [&](std::span<const std::byte> arrived) {
          if (!to.tun->write(arrived)) ++to.refused;
        });
        next = std::min(next, end.links[i]->next_ns());
      }
      if (count == kPacketsATurn) continue;
      pollfd descriptors[] = {{.fd = end.tun->descriptor(), .events = POLLIN, .revents = 0}, {.fd = end.wake, .events = POLLIN, .revents = 0}};
      int64_t pause = std::max<int64_t>(0, next - now_ns());
      timespec timeout{.tv_sec = pause / 1'000'000'000, .tv_nsec = pause % 1'000'000'000};
      if (ppoll(descriptors, 2, next == INT64_MAX ? nullptr : &timeout, nullptr) > 0 && descriptors[1].revents != 0) {
        uint64_t ignored = 0;
        if (read(end.wake, &ignored, sizeof(ignored)) < 0) continue;
      }
    }
  }

  void route(End& from, std::span<const std::byte> packet) {
    constexpr size_t kIpHeader = 20, kDestination = 16;
    std::span<const std::byte> ip = packet.subspan(kHeaderBytes);
    if (ip.size() < kIpHeader || (std::to_integer<int>(ip[0]) >> 4) != 4) return;  // IPv6 looks for neighbours: there are none
    uint32_t destination = 0;
    std::memcpy(&destination, ip.data() + kDestination, sizeof(destination));
    for (size_t i = 0; i < ends_.size(); ++i) {
      if (ends_[i]->address == destination && ends_[i].get() != &from) return from.links[i]->offer(now_ns(), packet, ip.size());
    }
  }

  std::vector<std::unique_ptr<End>> ends_;
  std::atomic<bool> stopping_{false};
};

int run(int count, char** arguments) {
  int mtu = 1500;
  std::vector<std::string> words;
  for (int i = 1; i < count; ++i) {
    if (std::string(arguments[i]) == "--mtu" && i + 1 < count) {
      mtu = std::atoi(arguments[++i]);
    } else {
      words.emplace_back(arguments[i]);
    }
  }
  if (words.size() < 2) throw std::runtime_error("usage: distance [--mtu N] NAME=NETWORK:ADDRESS NAME=NETWORK:ADDRESS ...");
  Distance distance(words, mtu);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) std::cout << distance.obey(line) << std::endl;
  return 0;
}

}  // namespace
}  // namespace odradek::distance

int main(int count, char** arguments) {
  try {
    return odradek::distance::run(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distance: %s\n", error.what());
    return 1;
  }
}
