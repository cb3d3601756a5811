// One accepted socket. Everything but answer() and released() belongs to its network thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "model/types.h"
#include "net/exchange.h"
#include "net/frame_reader.h"
#include "net/frame_writer.h"
#include "net/socket.h"

namespace odradek::net {

class ThreadInbox;

// What the sink hangs on a connection; destroyed with it.
class ConnectionUser {
 public:
  virtual ~ConnectionUser() = default;
};

class Connection {
 public:
  Connection(uint64_t id, int socket, const std::string& listener, SecurityProtocol protocol, Address peer,
             std::shared_ptr<ThreadInbox> inbox, std::shared_ptr<FrameMemory> memory, ReadContext& context);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const uint64_t id;  // never used twice in a process
  const std::string listener;
  const SecurityProtocol protocol;
  const Address peer;
  const Address local;
  std::unique_ptr<ConnectionUser> user;

  // Hands back the exchange with its answer; once for each exchange, in any order. The connection may be gone afterwards.
  // Thread: any. Wakes the network thread only if it sleeps.
  void answer(Exchange* exchange);
  // See FrameSink::on_close. Thread: any.
  void released();

 private:
  friend class NetworkThread;
  friend class ConnectionTimers;
  void drop_late_reference();

  // Shared: answers may come, and frames be given back, after the reactor has gone.
  std::shared_ptr<FrameMemory> memory_;
  std::shared_ptr<ThreadInbox> inbox_;
  Descriptor socket_;  // -1: closed
  std::unique_ptr<FrameReader> reader_;
  FrameWriter writer_;

  bool readable_ = false;  // as far as the last event and the last read tell
  bool writable_ = true;
  bool peer_closed_ = false;    // the peer has announced that it sends no more
  bool at_end_ = false;         // and all that it sent has been read
  bool pipeline_full_ = false;  // as many open requests as allowed
  bool loading_ = false;        // a cold slice is on its way
  bool in_ready_ = false;
  bool in_stalled_ = false;
  bool in_watched_ = false;
  bool release_awaited_ = false;
  int open_exchanges_ = 0;  // not answered, or not yet sent
  int64_t mute_until_ns_ = 0;
  int64_t active_ns_ = 0;   // last time that bytes moved
  int64_t idle_check_ns_ = 0;
  uint64_t seen_progress_ = 0;
  FrameReader::UnderWay seen_frame_;
  std::function<void()> on_room_;  // the budget has room for the frame that waits
  std::list<Connection*>::iterator place_;  // among all of its thread, or among those that wait for their end

  // References that outlive the network thread. Below zero while they end before the thread has counted them.
  std::atomic<int> late_references_{0};
};

}  // namespace odradek::net
