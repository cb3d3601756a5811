// A thread that connects, reads and writes for many links; see link.h. A link belongs to one for life.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "net/answer_reader.h"
#include "net/link_state.h"
#include "net/resolve.h"
#include "net/socket.h"

namespace odradek::net {

class LinkThread {
 public:
  explicit LinkThread(const std::string& name);
  // Closes the sockets that are left, and ends.
  ~LinkThread();

  // Tries one address after the other. Thread: any.
  void connect(LinkPtr link, std::vector<SocketAddress> addresses) { command({std::move(link), std::move(addresses), false}); }
  void close(LinkPtr link) { command({std::move(link), {}, true}); }
  // Whether it wants to hear of room to write; of bytes to read it always hears. Thread: any.
  void watch(const LinkState& link, int socket, bool writable);

 private:
  struct Command {
    LinkPtr link;
    std::vector<SocketAddress> addresses;
    bool close;
  };

  void command(Command one);
  void run();
  void remove(LinkState& link);
  // The next address that the name has; the link is broken when none is left.
  void dial_next(const LinkPtr& link);
  // False: the link is broken.
  bool handle(LinkState& link, uint32_t events);

  Descriptor epoll_;
  Descriptor wake_;
  std::vector<uint8_t> scratch_ = std::vector<uint8_t>(AnswerReader::kScratch);
  std::unordered_map<uint64_t, LinkPtr> links_;  // those that have a socket; link thread
  std::atomic<bool> stopping_{false};
  base::Mutex mutex_;
  std::vector<Command> commands_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace odradek::net
