// What other threads send to a network thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/mpsc_queue.h"
#include "net/exchange.h"
#include "net/frame_sink.h"
#include "net/socket.h"

namespace odradek::net {

class NetworkThread;

// Everything that other threads send to a network thread. Outlives it as long as somebody may still send.
class ThreadInbox final : public ReadingThread {
 public:
  struct Command {
    std::atomic<Command*> next{nullptr};
    std::function<void(NetworkThread&)> run;
    std::function<void()> refused;  // the thread has ended
  };

  explicit ThreadInbox(Descriptor the_event) : event(std::move(the_event)) {}
  ~ThreadInbox() override;

  base::MpscQueue<Exchange> answers;
  std::atomic<uint64_t> answers_pushed{0};  // for statistics
  std::atomic<uint64_t> wakes_done{0};      // pushes of answers that found the queue empty, when they are through
  base::MpscQueue<Command> commands;
  std::atomic<bool> resume{false};
  const Descriptor event;

  // Pairs with going_to_sleep(): both sides are sequentially consistent ("send, look for sleep" and "sleep, look for mail").
  void wake() {
    if (sleeping_.load(std::memory_order_seq_cst) && sleeping_.exchange(false, std::memory_order_seq_cst)) signal_event(event.get());
  }
  // False: the thread has ended (`refused` was called).
  bool post(std::function<void(NetworkThread&)> run, std::function<void()> refused = nullptr);
  void resume_reading() override {
    resume.store(true, std::memory_order_seq_cst);
    wake();
  }

  void going_to_sleep() { sleeping_.store(true, std::memory_order_seq_cst); }
  void awake() { sleeping_.store(false, std::memory_order_relaxed); }
  bool has_mail() const { return !answers.empty() || !commands.empty() || resume.load(std::memory_order_seq_cst); }

 private:
  std::atomic<bool> sleeping_{false};
};

}  // namespace odradek::net
