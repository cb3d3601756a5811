// One thread of the reactor: waits for its sockets, its new connections and its answers, reads frames, sends answers.
// Sockets are registered once, edge-triggered, for both directions; whether to read is decided here, so muting costs no call.
// Thread: the thread itself, except what says otherwise.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mpmc_queue.h"
#include "base/mutex.h"
#include "base/slice_loader.h"
#include "net/connection.h"
#include "net/connection_timers.h"
#include "net/frame_sink.h"
#include "net/idle_meter.h"
#include "net/limits.h"
#include "net/options.h"
#include "net/thread_inbox.h"
#include "net/waking_choice.h"

namespace odradek::net {

// What all threads of the reactor share.
struct ReactorShared {
  const ReactorOptions& options;
  base::Clock& clock;
  FrameSink& sink;
  base::SliceLoader* loader;
  const std::shared_ptr<FrameMemory> memory;
  ConnectionLimits limits;
  // Descriptors from this number on (they are given out from the lowest) are left to files and to connections of the broker's own.
  const int max_socket;
  std::atomic<uint64_t> next_connection_id{1};
  // A connection has closed: an acceptor may be waiting for that.
  std::function<void()> on_room;
  // Another broker's connection has made too many of all.
  std::function<void()> on_excess;
  base::Mutex shed_mutex;  // held while a thread sheds connections: no other one closes for the same excess
};

class NetworkThread;

// What the threads of one listener share.
struct ListenerShared {
  const ListenerOptions& options;
  std::atomic<int> connections{0};
  std::atomic<int> max_connections;
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> refused{0};
  // A thread has taken new connections out of its queue.
  std::function<void()> on_queue_room;
  // The thread to which connections move; null: there is none.
  std::function<std::shared_ptr<NetworkThread>()> pick;
};

struct NewSocket {
  int socket = -1;
  Address peer;
};

class NetworkThread final : private FrameReader::Taker, private FrameWriter::Done, private ConnectionTimers::Owner {
 public:
  // `epoll`, `wake` (an eventfd): a new one of each, which the thread takes over.
  NetworkThread(ReactorShared& shared, ListenerShared& listener, std::string name, Descriptor epoll, Descriptor wake);
  ~NetworkThread() override;

  void start();
  // False: its queue of new connections is full. Thread: the acceptor.
  bool offer(const NewSocket& socket);
  // Gives its connections to other threads as they become quiet, then ends. Thread: any.
  void retire();
  // Closes those of its connections that were used least recently while there are more, of this listener or of all, than there may be.
  // Thread: any.
  void shed();
  // Reads no more; closes each connection when its answers have left; `drained` is called once then. Thread: any.
  void drain(std::function<void()> drained);
  // Closes everything and ends. Thread: any; then join().
  void stop();
  void join();
  bool has_ended() const { return ended_.load(std::memory_order_acquire); }

  // Thread: any.
  int64_t idle_ns(int64_t now_ns) const { return meter_.idle_ns(now_ns); }
  int64_t started_ns() const { return started_ns_; }
  int response_queue() const;

 private:
  friend class Connection;

  // --- the loop (network_thread.cc) ---------------------------------------------------------------------------------------------------
  void run();
  void round(int events);
  int64_t sleep_ns();
  int wait(int64_t ns);
  void take_answers();
  void take_commands();
  void take_new_sockets();
  void take_resume();
  void serve_ready();

  void open(const NewSocket& socket);
  void adopt(Connection* connection);
  void on_event(Connection& connection, uint32_t events);
  void make_ready(Connection& connection);
  Connection* find(uint64_t id);
  void unmuted(Connection& connection) override;
  void overdue(Connection& connection, const char* why) override { close(connection, why); }

  // --- requests in, answers out (network_thread_io.cc) ----------------------------------------------------------------------------------
  void serve_read(Connection& connection);
  void serve_write(Connection& connection);
  void load_slice(Connection& connection);
  void end_exchange(Exchange& exchange);
  bool may_take() override;
  void take(Frame frame) override;
  void done(Exchange& exchange) override;

  // --- connections close and move, the thread ends (network_thread_end.cc) --------------------------------------------------------------
  void close(Connection& connection, const char* why);
  void close_all(const char* why);
  void close_excess();
  void settle_closed(Connection& connection);
  void forget(Connection& connection);
  void retire_step();
  bool move_away(Connection& connection);
  void finish();

  ReactorShared& shared_;
  ListenerShared& listener_;
  const std::string name_;
  const std::shared_ptr<ThreadInbox> inbox_;
  base::MpmcQueue<NewSocket> new_sockets_;
  std::atomic<int> new_socket_count_{0};
  IdleMeter meter_;
  int64_t started_ns_ = 0;
  std::atomic<bool> ended_{false};
  std::atomic<uint64_t> answers_taken_{0};
  std::thread thread_;

  Descriptor epoll_;
  ReadContext read_context_;
  std::unique_ptr<uint8_t[]> write_scratch_;
  int64_t now_ns_ = 0;
  int64_t write_now_ns_ = 0;
  int64_t round_end_sleep_ns_ = -1;
  Connection* current_ = nullptr;

  uint64_t batches_ = 0;  // of answers

  WakingChoice waking_;
  ConnectionTimers timers_;

  std::list<Connection*> open_;
  std::list<Connection*> closing_;  // closed; exchanges or references are out
  std::unordered_map<uint64_t, Connection*> by_id_;
  std::vector<Connection*> ready_;        // have something to do without an event
  std::vector<Connection*> ready_now_;
  std::vector<Connection*> stalled_;      // wait for resume_reading
  std::vector<Connection*> answered_;     // connections whose next answer has come
  std::vector<Connection*> dead_;         // destroyed at the end of the round
  bool is_stalled_ = false;
  bool retiring_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  std::function<void()> drained_;
};

}  // namespace odradek::net
