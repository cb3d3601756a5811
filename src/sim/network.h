// Connections without sockets: frames arrive in order after a delay, either end may be cut off at any moment, and then a request or an
// answer on its way is lost. The broker's end keeps the rules of src/server: one request runs at a time, the next starts when it has
// settled or finished, answers leave in order, slices are read from their files when they are sent.
// Thread: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/table.h"
#include "base/executor.h"
#include "protocol/header.h"
#include "request/request_context.h"
#include "sim/world.h"

namespace odradek::sim {

class Connection;
using ConnectionPtr = std::shared_ptr<Connection>;  // shared: the client, events on their way, and requests that run

// The client's end hears of frames and of the end of the connection.
struct ClientEnd {
  std::function<void(Bytes frame)> on_frame;
  std::function<void()> on_close;  // once, not after close()
};

class Network {
 public:
  static constexpr int kClients = -1;

  explicit Network(World& world) : world_(world) {}

  // The broker serves. `handlers` runs its requests and lives until stop(); `dead()` is asked before anything leaves the broker.
  void serve(request::RequestSink& sink, base::Executor& handlers, std::function<bool()> dead);
  // Every connection ends. Answers that had left may still arrive, unless nothing of them is to be heard any more.
  void stop(bool silently);
  bool is_serving() const { return sink_ != nullptr; }

  // Null: refused. `from`: who dials, for `blocked`.
  ConnectionPtr connect(ClientEnd end, int from = kClients);
  // Cuts one connection somewhere.
  void cut_one();
  size_t connections() const { return open_.size(); }

  // A network that loses everything for a while (empty: none does): what is on its way in that direction waits, as TCP repeats it, and
  // arrives in its order when the way is open again. To be told of each change by ways_changed().
  std::function<bool(int from, bool to_broker)> blocked;
  void ways_changed();
  // To other brokers it is one of Kafka's: it skips the tags that ours add to their fetches.
  bool without_our_tags = false;
  // The broker's process stands still (SIGSTOP): its kernel goes on taking connections and bytes.
  void set_paused(bool paused);
  // Frames of one broker that arrived behind a later one of it, over another connection.
  int64_t overtaken() const { return overtaken_; }

 private:
  friend class Connection;
  World& world_;
  request::RequestSink* sink_ = nullptr;
  base::Executor* handlers_ = nullptr;
  std::function<bool()> dead_;
  bool paused_ = false;
  uint64_t last_id_ = 0;
  std::map<int, std::pair<int64_t, int64_t>> frames_;  // by who dialled: how many were sent, and the newest that has arrived
  int64_t overtaken_ = 0;
  std::map<uint64_t, ConnectionPtr> open_;
  std::vector<std::weak_ptr<Connection>> made_;  // all of which a client may still hear something
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Network& network, uint64_t id, ClientEnd end, int from);

  // --- the client's end
  void send(Bytes frame);
  void close();
  bool is_open() const { return client_open_; }

 private:
  friend class Network;
  struct Exchange;
  class Request;
  using ExchangePtr = std::shared_ptr<Exchange>;

  void cut(int64_t broker_hears_us);
  void arrive(Bytes frame);
  void activate();
  void run();
  void changed(const ExchangePtr& exchange);  // settled or finished
  void send_answers();
  void broker_close();
  void deliver(UniqueFunction<void()> what);
  // Now, or when the way is open.
  void pass(bool to_broker, Task what);
  void ways_changed();
  bool is_blocked(bool to_broker) const { return network_.blocked && network_.blocked(from_, to_broker); }
  bool dead() const { return network_.dead_ && network_.dead_(); }

  Network& network_;
  World& world_;
  const uint64_t id_;
  ClientEnd end_;
  const int from_;
  const int64_t latency_us_;
  bool client_open_ = true;
  int64_t last_arrival_ns_ = 0, last_delivery_ns_ = 0;
  std::deque<Task> held_[2];  // by direction: to the client, to the broker

  // The broker's end.
  request::ConnectionInfo info_;
  bool broker_open_ = true;
  bool closing_ = false;
  bool active_ = false;
  int64_t throttled_until_ns_ = 0;
  std::deque<ExchangePtr> mailbox_;
  std::deque<ExchangePtr> unanswered_;  // in the order of requests, those that have started
  ExchangePtr current_;                 // started, neither settled nor finished
};

// Calls over one connection at a time, each answered, or told that the connection has gone, within its time: else a promise is broken.
class Channel {
 public:
  Channel(World& world, Network& network, std::string name) : world_(world), network_(&network), name_(std::move(name)) {}
  ~Channel() { close(); }
  Channel(const Channel&) = delete;

  // Tries until it succeeds; on_ready is called for each new connection, on_lost when one has gone (after the calls were told).
  void open(std::function<void()> on_ready, std::function<void()> on_lost);
  void close();
  bool is_ready() const { return connection_ != nullptr; }
  // Gives up this connection and makes a new one.
  void reconnect();
  // The same, to another broker.
  void move_to(Network& network);
  const Network& network() const { return *network_; }

  // In a cluster brokers are away for long: a call that is not answered in time costs the connection, and no promise is broken.
  bool brokers_may_be_away = false;
  // Where to go when a broker refuses; empty: there again.
  std::function<Network*()> elsewhere;
  size_t calls_out() const { return calls_.size(); }

  // `done`: null = the connection was lost. `patience_ms`: of the request itself, beyond what any request may take.
  template <class Request, class Response>
  void call(const Request& request, int16_t version, int64_t patience_ms, UniqueFunction<void(Response*)> done) {
    Bytes frame = encode(request, version);
    add_call(last_correlation_, protocol::name_of(Request::kKey), version, patience_ms,
             [this, version, done = std::move(done)](MutableByteView* answer) mutable {
               if (answer == nullptr) return done(nullptr);
               size_t used = 0;
               auto correlation = protocol::decode_response_header(*answer, Response::kKey, version, used);
               if (!correlation) return world_.violation(name_ + ": answer without a header");
               auto response = protocol::decode_body<Response>(answer->subspan(used), version);
               if (!response) return world_.violation(name_ + ": answer that cannot be read: " + response.error().what);
               done(&*response);
             });
    connection_->send(std::move(frame));
  }
  // acks=0.
  template <class Request>
  void tell(const Request& request, int16_t version) {
    ++world_.operations;
    connection_->send(encode(request, version));
  }
  // One that the broker serves, from `least` on.
  template <class Request>
  int16_t any_version(int16_t least = 0) {
    const api::Api* api = api::find_served(Request::kKey);
    return static_cast<int16_t>(world_.random.between(std::max(least, api->min_version), api->max_version));
  }

  static constexpr int64_t kAnswerWithinMs = 15'000;

 private:
  struct Call {
    int32_t correlation;
    World::EventId deadline;
    UniqueFunction<void(MutableByteView*)> done;
  };
  template <class Request>
  Bytes encode(const Request& request, int16_t version) {
    protocol::RequestHeader header;
    header.request_api_version = version;
    header.correlation_id = ++last_correlation_;
    header.client_id = name_;
    return std::move(protocol::encode_request(header, request)).bytes;
  }
  void add_call(int32_t correlation, std::string_view what, int16_t version, int64_t patience_ms, UniqueFunction<void(MutableByteView*)> done);
  void connect();
  void lost();

  World& world_;
  Network* network_;
  const std::string name_;
  std::function<void()> on_ready_, on_lost_;
  ConnectionPtr connection_;
  int32_t last_correlation_ = 0;
  std::deque<Call> calls_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // events on their way ask it
  World::EventId connecting_ = 0;
  bool refused_ = false;  // the last time
};

}  // namespace odradek::sim
