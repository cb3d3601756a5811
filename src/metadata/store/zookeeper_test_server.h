// A real ZooKeeper server for tests, and a wire to it that can be cut.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"

extern char** environ;

namespace odradek::metadata::testing {

inline int listening_socket(int& port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::listen(fd, 16);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}
inline int connect_to(int port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

// A real server, where java and the jars are there. Started by the constructor, ended by the destructor.
class ZooKeeperServer {
 public:
  ZooKeeperServer() {
    ::close(listening_socket(port_));
    folder_ = "/tmp/odradek-zookeeper-" + std::to_string(::getpid()) + "-" + std::to_string(port_);
    int out[2];
    if (::pipe(out) != 0) return;
    std::string script = std::string(ODRADEK_SOURCE_DIR) + "/tests/lib/zookeeper.sh";
    std::string port = std::to_string(port_);
    char* arguments[] = {script.data(), port.data(), folder_.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    int failed = ::posix_spawn(&pid_, script.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    if (failed != 0) {
      pid_ = 0;
      why_ = "tests/lib/zookeeper.sh cannot be started";
    } else {
      await(out[0]);
    }
    ::close(out[0]);
  }
  ~ZooKeeperServer() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    (void)base::posix_files().remove_all(folder_);
  }
  // Empty: it runs.
  const std::string& why_not() const { return why_; }
  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  bool answers() const {
    int fd = connect_to(port_);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
  }
  // Until the port answers or the script gives up.
  void await(int out) {
    auto until = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    while (std::chrono::steady_clock::now() < until) {
      if (answers()) return;
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        char reason[500];
        ssize_t size = ::read(out, reason, sizeof reason);
        why_ = size > 0 ? std::string(reason, static_cast<size_t>(size)) : "the server ended at once";
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    why_ = "the server did not open its port";
  }

  int port_ = 0;
  std::string folder_;
  pid_t pid_ = 0;
  std::string why_;
};

// One for the test program.
inline ZooKeeperServer& shared_server() {
  static ZooKeeperServer server;
  return server;
}

// Hands bytes to and fro between its own port and another.
class Forwarder {
 public:
  explicit Forwarder(int target) : target_(target), listener_(listening_socket(port_)), thread_([this] { run(); }) {}
  ~Forwarder() {
    end_ = true;
    thread_.join();
    ::close(listener_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // Ends the connections of now; while `refuse`, also the new ones at once.
  void cut(bool refuse) {
    refuse_ = refuse;
    cut_ = true;
  }
  void accept_again() { refuse_ = false; }
  // Nothing passes, nothing is closed: as a server that was stopped.
  void hold(bool hold) {
    hold_ = hold;
    for (uint64_t now = rounds_; rounds_ < now + 2;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  void run() {
    std::vector<std::pair<int, int>> links;
    auto end = [](std::pair<int, int> link) {
      ::close(link.first);
      ::close(link.second);
    };
    for (; !end_; ++rounds_) {
      if (cut_.exchange(false)) {
        for (auto link : links) end(link);
        links.clear();
      }
      std::vector<pollfd> polled{{listener_, POLLIN, 0}};
      if (!hold_) {
        for (auto [a, b] : links) {
          polled.push_back({a, POLLIN, 0});
          polled.push_back({b, POLLIN, 0});
        }
      }
      ::poll(polled.data(), polled.size(), 5);
      if ((polled[0].revents & POLLIN) != 0) {
        int in = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        int out = refuse_ ? -1 : connect_to(target_);
        if (out >= 0) {
          links.emplace_back(in, out);
        } else {
          ::close(in);
        }
      }
      std::vector<size_t> ended;
      for (size_t i = 1; i < polled.size(); ++i) {
        if (polled[i].revents == 0) continue;
        auto link = links[(i - 1) / 2];
        char bytes[65536];
        ssize_t size = ::read(polled[i].fd, bytes, sizeof bytes);
        int other = polled[i].fd == link.first ? link.second : link.first;
        bool passed = size > 0;
        for (ssize_t done = 0; passed && done < size;) {
          ssize_t sent = ::send(other, bytes + done, static_cast<size_t>(size - done), MSG_NOSIGNAL);
          passed = sent > 0;
          done += sent;
        }
        if (!passed && (ended.empty() || ended.back() != (i - 1) / 2)) ended.push_back((i - 1) / 2);
      }
      for (auto i = ended.rbegin(); i != ended.rend(); ++i) {
        end(links[*i]);
        links.erase(links.begin() + static_cast<std::ptrdiff_t>(*i));
      }
    }
    for (auto link : links) end(link);
  }

  const int target_;
  int port_ = 0;
  const int listener_;
  std::atomic<uint64_t> rounds_{0};
  std::atomic<bool> end_{false}, cut_{false}, refuse_{false}, hold_{false};
  std::thread thread_;
};

}  // namespace odradek::metadata::testing
