#include "net/connection.h"

#include <utility>

#include "net/network_thread.h"
#include "net/thread_inbox.h"

namespace odradek::net {

Connection::Connection(uint64_t the_id, int socket, const std::string& the_listener, SecurityProtocol the_protocol, Address the_peer,
                       std::shared_ptr<ThreadInbox> inbox, std::shared_ptr<FrameMemory> memory, ReadContext& context)
    : id(the_id),
      listener(the_listener),
      protocol(the_protocol),
      peer(std::move(the_peer)),
      local(local_address(socket)),
      memory_(std::move(memory)),
      inbox_(std::move(inbox)),
      socket_(socket),
      reader_(std::make_unique<FrameReader>(context)) {
  on_room_ = [this, the_id] {
    inbox_->post([the_id](NetworkThread& self) {
      if (Connection* connection = self.find(the_id)) self.make_ready(*connection);
    });
  };
}

Connection::~Connection() = default;

void Connection::answer(Exchange* exchange) {
  ThreadInbox& inbox = *inbox_;  // after the push neither this nor, but for its wakes_done, the inbox is sure to live
  inbox.answers_pushed.fetch_add(1, std::memory_order_relaxed);
  switch (inbox.answers.try_push(exchange)) {
    case base::MpscQueue<Exchange>::Push::kFirst:
      inbox.wake();
      inbox.wakes_done.fetch_add(1, std::memory_order_release);  // meets the acquire load at the thread's end
      break;
    case base::MpscQueue<Exchange>::Push::kMore: break;
    case base::MpscQueue<Exchange>::Push::kClosed:
      exchange->release();
      drop_late_reference();
      break;
  }
}

void Connection::released() {
  std::shared_ptr<ThreadInbox> inbox = inbox_;
  inbox->post(
      [this](NetworkThread& self) {
        release_awaited_ = false;
        self.settle_closed(*this);
      },
      [this] { drop_late_reference(); });
}

void Connection::drop_late_reference() {
  if (late_references_.fetch_sub(1, std::memory_order_acq_rel) - 1 == 0) delete this;
}

}  // namespace odradek::net
