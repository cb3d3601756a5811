#include "sim/cluster/links.h"

#include <deque>

#include "base/check.h"
#include "model/error_code.h"
#include "protocol/header.h"
#include "protocol/messages/fetch.h"

namespace odradek::sim {
namespace {

// What is left of a fetch for who does not know our tags.
void skip_our_tags(base::Output& request) {
  size_t used = 0;
  auto header = protocol::decode_request_header(request.bytes, used);
  CHECK(header);
  if (header->request_api_key != static_cast<int16_t>(protocol::FetchRequest::kKey)) return;
  auto fetch = protocol::decode_body<protocol::FetchRequest>(MutableByteView(request.bytes).subspan(used), header->request_api_version);
  CHECK(fetch);
  fetch->pipeline.reset();
  for (auto& topic : fetch->topics) {
    for (auto& partition : topic.partitions) partition.position = partition.flushed = -1;
  }
  base::Output without = protocol::encode_request(std::move(*header), *fetch);
  request = std::move(without);
}

}  // namespace

// As net/link.cc does it with sockets.
struct LinkState : std::enable_shared_from_this<LinkState> {
  LinkState(World& w, SimRuntime& r, base::Executor& e, Network* n, int f, std::string s, int64_t by_ns)
      : world(w), runtime(r), executor(e), network(n), from(f), name(std::move(s)), connect_by_ns(by_ns) {}

  void dial() {
    world.after_us(world.random.between(50, 3'000), [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->try_to_connect();
    });
  }

  void try_to_connect() {
    if (broken) return;
    const bool lost = network != nullptr && network->blocked && (network->blocked(from, true) || network->blocked(from, false));
    if (lost) {
      if (world.now_ns() >= connect_by_ns) return break_now({ErrorCode::kRequestTimedOut, name + ": not connected in time"});
      world.after_ms(100, [weak = weak_from_this()] {
        if (auto self = weak.lock()) self->try_to_connect();
      });
      return;
    }
    std::weak_ptr<LinkState> weak = weak_from_this();
    if (network != nullptr) {
      connection = network->connect({[weak](Bytes frame) {
                                       if (auto self = weak.lock()) self->on_frame(std::move(frame));
                                     },
                                     [weak] {
                                       if (auto self = weak.lock()) self->on_close();
                                     }},
                                    from);
    }
    if (connection == nullptr) return break_now({ErrorCode::kNetworkException, name + ": connection refused"});
    for (Bytes& frame : std::exchange(unsent, {})) connection->send(std::move(frame));
  }

  void send(base::Output request, std::chrono::milliseconds timeout, net::Link::Done done) {
    if (broken) return tell(std::move(done), fail(*broken));
    if (network != nullptr && network->without_our_tags) skip_our_tags(request);
    const base::TimerId timer = runtime.timers().after(timeout, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->break_now({ErrorCode::kRequestTimedOut, self->name + ": no answer in time"});
    });
    waiting.push_back({timer, std::move(done)});
    if (connection != nullptr) {
      connection->send(std::move(request.bytes));
    } else {
      unsent.push_back(std::move(request.bytes));
    }
  }

  void on_frame(Bytes frame) {
    received += static_cast<int64_t>(frame.size());
    if (broken) return;
    if (waiting.empty()) return break_now({ErrorCode::kCorruptMessage, name + " sent an answer that nobody waits for"});
    Waiting first = std::move(waiting.front());
    waiting.pop_front();
    runtime.timers().cancel(first.timer);
    tell(std::move(first.done), net::Answer(frame));
  }
  void on_close() {
    connection = nullptr;
    break_now({ErrorCode::kNetworkException, name + " closed the connection"});
  }

  void break_now(Error why) {
    if (broken) return;
    broken = std::move(why);
    unsent.clear();
    for (Waiting& one : std::exchange(waiting, {})) {
      runtime.timers().cancel(one.timer);
      tell(std::move(one.done), fail(*broken));
    }
    if (auto open = std::exchange(connection, nullptr)) open->close();
  }

  void tell(net::Link::Done done, Result<net::Answer> answer) {
    executor.post([done = std::move(done), answer = std::move(answer)]() mutable { done(std::move(answer)); });
  }

  World& world;
  SimRuntime& runtime;
  base::Executor& executor;
  Network* network;
  const int from;
  const std::string name;
  const int64_t connect_by_ns;
  struct Waiting {
    base::TimerId timer;
    net::Link::Done done;
  };
  std::deque<Waiting> waiting;
  std::vector<Bytes> unsent;  // until it is connected
  ConnectionPtr connection;
  std::optional<Error> broken;
  int64_t received = 0;
};

namespace {

class SimLink final : public net::Link {
 public:
  explicit SimLink(std::shared_ptr<LinkState> state) : state_(std::move(state)) {}
  ~SimLink() override { state_->break_now({ErrorCode::kNetworkException, "the connection to " + state_->name + " was given up"}); }
  void send(base::Output request, std::chrono::milliseconds timeout, Done done) override { state_->send(std::move(request), timeout, std::move(done)); }
  void fail_all(Error why) override { state_->break_now(std::move(why)); }
  bool broken() const override { return state_->broken.has_value(); }
  int64_t received_bytes() const override { return state_->received; }

 private:
  std::shared_ptr<LinkState> state_;  // shared: with events on their way
};

}  // namespace

SimLinks::~SimLinks() {
  for (const auto& one : made_) {
    auto link = one.lock();
    if (link == nullptr) continue;
    if (!link->broken) link->broken = Error{ErrorCode::kNetworkException, "the process has ended"};
    if (auto open = std::exchange(link->connection, nullptr)) open->close();
  }
}

std::unique_ptr<net::Link> SimLinks::open(const net::Endpoint& to, net::LinkOptions options, base::Executor& executor) {
  auto state = std::make_shared<LinkState>(world_, runtime_, executor, to_(to), self_, to.to_string(),
                                           world_.now_ns() + options.connect_timeout.count() * 1'000'000);
  std::erase_if(made_, [](auto& one) { return one.expired(); });
  made_.push_back(state);
  state->dial();
  return std::make_unique<SimLink>(std::move(state));
}

}  // namespace odradek::sim
