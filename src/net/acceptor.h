// Accepts the connections of one listener and deals them out to its network threads in turn. Waits, with the connections left in
// the kernel's backlog, while a limit or full queues forbid another one; closes at once what max.connections.per.ip forbids.
// Thread: its own (`acceptor-<listener>`); wake() from any.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "net/network_thread.h"
#include "net/socket.h"

namespace odradek::net {

class Acceptor {
 public:
  // `deal`: hands the socket to a network thread; false: all their queues are full.
  Acceptor(ReactorShared& shared, ListenerShared& listener, Descriptor listening, std::function<bool(const NewSocket&)> deal);
  ~Acceptor();

  void start();
  void stop();  // closes the listening socket, joins
  int port() const { return port_; }
  // Something that it may be waiting for has changed.
  void wake();
  void set_creation_rate(int rate);
  int64_t blocked_ns(int64_t now_ns) const { return blocked_.idle_ns(now_ns); }

 private:
  void run();
  bool accept_one();
  // No descriptor for one more connection: a pause, and a line now and then.
  void on_no_files(const std::string& what);
  // ns until another may be accepted; 0: now; -1: when woken.
  int64_t must_wait();

  ReactorShared& shared_;
  ListenerShared& listener_;
  Descriptor listening_;
  const int port_;
  const std::function<bool(const NewSocket&)> deal_;
  const Descriptor event_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> waiting_{false};  // for a limit or a queue; set before it looks again
  NewSocket pending_;                 // accepted, not dealt out
  bool out_of_files_ = false;
  int64_t files_told_ns_ = 0;  // when the log was told that there were none
  IdleMeter blocked_;
  base::Mutex mutex_;
  RateLimit rate_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace odradek::net
