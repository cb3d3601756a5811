#include "sim/network.h"

#include <algorithm>
#include <utility>

namespace odradek::sim {

struct Connection::Exchange {
  Bytes frame;
  request::Times times;
  bool settled = false, finished = false;
  enum class Answer { kSend, kNothing, kClose, kSendAndClose } answer = Answer::kSend;
  base::Output output;
};

class Connection::Request final : public request::RequestContext {
 public:
  Request(protocol::RequestHeader header, MutableByteView body, ConnectionPtr connection, ExchangePtr exchange)
      : RequestContext(std::move(header), body, connection->info_, exchange->times), connection_(std::move(connection)), exchange_(std::move(exchange)) {}
  // Whoever held it has died with the process, or has forgotten it.
  ~Request() override {
    if (finished()) return;
    if (connection_->broker_open_ && !connection_->dead()) {
      connection_->world_.violation(std::string("the broker dropped a request unanswered: ") + std::string(protocol::name_of(api())));
    }
    finish_and_close();
  }

 private:
  void on_settle() override {
    exchange_->settled = true;
    connection_->changed(exchange_);
  }
  void on_finish(Completion completion) override {
    using Kind = Completion::Kind;
    exchange_->answer = completion.kind == Kind::kAnswer ? Exchange::Answer::kSend
                        : completion.kind == Kind::kNoAnswer ? Exchange::Answer::kNothing
                        : completion.kind == Kind::kClose ? Exchange::Answer::kClose
                                                          : Exchange::Answer::kSendAndClose;
    if (exchange_->answer == Exchange::Answer::kClose || exchange_->answer == Exchange::Answer::kSendAndClose) connection_->closing_ = true;
    exchange_->output = std::move(completion.output);
    exchange_->settled = exchange_->finished = true;
    connection_->changed(exchange_);
  }
  void on_throttle(int32_t ms) override { connection_->throttled_until_ns_ = connection_->world_.now_ns() + ms * 1'000'000ll; }

  ConnectionPtr connection_;
  ExchangePtr exchange_;
};

void Network::serve(request::RequestSink& sink, base::Executor& handlers, std::function<bool()> dead) {
  sink_ = &sink;
  handlers_ = &handlers;
  dead_ = std::move(dead);
}

void Network::stop(bool silently) {
  sink_ = nullptr;
  handlers_ = nullptr;
  auto connections = std::move(open_);
  open_.clear();
  for (auto& [id, connection] : connections) {
    connection->broker_open_ = false;
    connection->mailbox_.clear();
    connection->unanswered_.clear();
    connection->current_ = nullptr;
    if (!silently) connection->deliver([self = connection.get()] { self->cut(0); });
  }
  for (const auto& connection : std::exchange(made_, {})) {
    auto living = connection.lock();
    if (living == nullptr) continue;
    // Those too that the broker closed, a moment ago or when its stop began: their last answers are under way.
    if (silently) living->cut(0);
    else made_.push_back(connection);
  }
}

ConnectionPtr Network::connect(ClientEnd end, int from) {
  if (sink_ == nullptr || (blocked && (blocked(from, true) || blocked(from, false)))) return nullptr;
  auto connection = std::make_shared<Connection>(*this, ++last_id_, std::move(end), from);
  open_.emplace(last_id_, connection);
  made_.push_back(connection);
  return connection;
}

void Network::ways_changed() {
  std::erase_if(made_, [](auto& one) { return one.expired(); });
  for (const auto& one : std::vector(made_)) {
    if (auto living = one.lock()) living->ways_changed();
  }
}

void Network::set_paused(bool paused) {
  paused_ = paused;
  if (paused) return;
  for (const auto& [id, connection] : std::map(open_)) connection->send_answers();
}

void Network::cut_one() {
  if (open_.empty()) return;
  auto at = open_.begin();
  std::advance(at, static_cast<int64_t>(world_.random.below(open_.size())));
  world_.trace("connection {} is cut", at->first);
  at->second->cut(world_.random.between(0, 20'000));
}

Connection::Connection(Network& network, uint64_t id, ClientEnd end, int from)
    : network_(network),
      world_(network.world_),
      id_(id),
      end_(std::move(end)),
      from_(from),
      latency_us_(world_.random.chance(80) ? world_.random.between(30, 1'500) : world_.random.between(1'500, 40'000)) {
  info_.id = id;
  info_.listener = "PLAINTEXT";
  info_.peer_host = info_.local_host = "127.0.0.1";
  info_.peer_port = 40'000;
  info_.local_port = 9092;
}

void Connection::send(Bytes frame) {
  if (!client_open_) return;
  int64_t at = world_.now_ns() + world_.random.between(latency_us_ / 2, latency_us_ * 3 / 2) * 1'000;
  last_arrival_ns_ = std::max(last_arrival_ns_ + 1, at);
  const int64_t number = ++network_.frames_[from_].first;
  world_.at(last_arrival_ns_, [self = shared_from_this(), number, frame = std::move(frame)]() mutable {
    self->pass(true, [self, number, frame = std::move(frame)]() mutable {
      int64_t& newest = self->network_.frames_[self->from_].second;
      if (number < newest && self->from_ != Network::kClients) ++self->network_.overtaken_;
      newest = std::max(newest, number);
      self->arrive(std::move(frame));
    });
  });
}

void Connection::close() {
  end_ = {};
  cut(world_.random.between(0, 2'000));
}

// The client's end is gone now, the broker hears of it later: what has left the client may still be read and run.
void Connection::cut(int64_t broker_hears_us) {
  if (!client_open_) return;
  client_open_ = false;
  auto on_close = std::move(end_.on_close);
  end_ = {};
  held_[0].clear();
  world_.after_us(broker_hears_us, [self = shared_from_this()] {
    self->pass(true, [self] { self->broker_close(); });
  });
  if (on_close) on_close();
}

void Connection::deliver(UniqueFunction<void()> what) {
  int64_t at = world_.now_ns() + world_.random.between(latency_us_ / 2, latency_us_ * 3 / 2) * 1'000;
  last_delivery_ns_ = std::max(last_delivery_ns_ + 1, at);
  world_.at(last_delivery_ns_, [self = shared_from_this(), what = std::move(what)]() mutable {
    self->pass(false, [self, what = std::move(what)]() mutable {
      if (self->client_open_) what();
    });
  });
}

void Connection::pass(bool to_broker, Task what) {
  if (held_[to_broker].empty() && !is_blocked(to_broker)) return what();
  held_[to_broker].push_back(std::move(what));
}

void Connection::ways_changed() {
  auto self = shared_from_this();
  for (bool to_broker : {true, false}) {
    while (!held_[to_broker].empty() && !is_blocked(to_broker)) {
      Task next = std::move(held_[to_broker].front());
      held_[to_broker].pop_front();
      next();
    }
  }
}

void Connection::arrive(Bytes frame) {
  if (!broker_open_ || dead()) return;
  auto exchange = std::make_shared<Exchange>();
  exchange->frame = std::move(frame);
  exchange->times.received_ns = world_.now_ns();
  mailbox_.push_back(std::move(exchange));
  activate();
}

void Connection::activate() {
  if (active_ || !broker_open_ || dead() || mailbox_.empty() || current_ != nullptr || closing_) return;
  if (throttled_until_ns_ > world_.now_ns()) {
    world_.at(throttled_until_ns_, [self = shared_from_this()] { self->activate(); });
    return;
  }
  active_ = true;
  network_.handlers_->post([self = shared_from_this()] { self->run(); });
}

void Connection::run() {
  constexpr int kTurns = 8;
  for (int turn = 0; turn < kTurns; ++turn) {
    if (!broker_open_ || dead() || mailbox_.empty() || current_ != nullptr || closing_ || throttled_until_ns_ > world_.now_ns()) break;
    ExchangePtr exchange = std::move(mailbox_.front());
    mailbox_.pop_front();
    unanswered_.push_back(exchange);
    current_ = exchange;
    exchange->times.started_ns = world_.now_ns();
    size_t used = 0;
    MutableByteView frame = exchange->frame;
    auto header = protocol::decode_request_header(frame, used);
    if (!header) {
      world_.violation("the broker cannot read the header of a request: " + header.error().what);
      break;
    }
    auto request = std::make_unique<Request>(std::move(*header), frame.subspan(used), shared_from_this(), exchange);
    network_.sink_->handle(std::move(request));
  }
  active_ = false;
  activate();
}

void Connection::changed(const ExchangePtr& exchange) {
  if (current_ == exchange) current_ = nullptr;
  if (!broker_open_ || dead()) return;
  if (exchange->finished) {
    int64_t us = world_.random.chance(90) ? world_.random.between(5, 200) : world_.random.between(200, 20'000);
    world_.after_us(us, [self = shared_from_this()] { self->send_answers(); });
  }
  activate();
}

void Connection::send_answers() {
  while (broker_open_ && !dead() && !network_.paused_ && !unanswered_.empty() && unanswered_.front()->finished) {
    ExchangePtr exchange = std::move(unanswered_.front());
    unanswered_.pop_front();
    if (exchange->answer == Exchange::Answer::kSend || exchange->answer == Exchange::Answer::kSendAndClose) {
      Bytes whole;
      size_t at = 0;
      bool intact = true;
      for (const base::Output::Insert& insert : exchange->output.inserts) {
        whole.insert(whole.end(), exchange->output.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                     exchange->output.bytes.begin() + static_cast<std::ptrdiff_t>(insert.at));
        at = insert.at;
        const base::FileSlice& slice = insert.slice;
        if (slice.size == 0) continue;
        intact = slice.file->begin_send(slice.generation);
        if (!intact) break;
        size_t before = whole.size();
        whole.resize(before + static_cast<size_t>(slice.size));
        auto read = slice.file->file().pread(slice.position, MutableByteView(whole).subspan(before));
        slice.file->end_send();
        intact = read && *read == static_cast<size_t>(slice.size);
        if (!intact) break;
      }
      if (!intact) {
        world_.trace("connection {}: a slice has gone, closed", id_);
        deliver([self = this] { self->cut(0); });
        return broker_close();
      }
      whole.insert(whole.end(), exchange->output.bytes.begin() + static_cast<std::ptrdiff_t>(at), exchange->output.bytes.end());
      deliver([self = this, whole = std::move(whole)]() mutable {
        auto on_frame = self->end_.on_frame;  // a copy: it may close the connection
        if (on_frame) on_frame(std::move(whole));
      });
    }
    if (exchange->answer == Exchange::Answer::kClose || exchange->answer == Exchange::Answer::kSendAndClose) {
      deliver([self = this] { self->cut(0); });
      return broker_close();
    }
  }
}

void Connection::broker_close() {
  if (!broker_open_) return;
  broker_open_ = false;
  mailbox_.clear();
  unanswered_.clear();
  network_.open_.erase(id_);
}

// ---- Channel

void Channel::open(std::function<void()> on_ready, std::function<void()> on_lost) {
  on_ready_ = std::move(on_ready);
  on_lost_ = std::move(on_lost);
  connect();
}

void Channel::connect() {
  if (connecting_ != 0) return;
  const int64_t most_us = brokers_may_be_away && refused_ ? 500'000 : 30'000;
  connecting_ = world_.after_us(world_.random.between(100, most_us), [this] {
    connecting_ = 0;
    if (refused_ && elsewhere) network_ = elsewhere();
    std::shared_ptr<bool> alive = alive_;
    connection_ = network_->connect({[this, alive](Bytes frame) {
                                      if (!*alive) return;
                                      if (calls_.empty()) return world_.violation(name_ + ": an answer that nobody asked for");
                                      Call call = std::move(calls_.front());
                                      calls_.pop_front();
                                      world_.cancel(call.deadline);
                                      ++world_.operations;
                                      if (frame.size() < 4 || base::load_be<int32_t>(frame.data()) != call.correlation) {
                                        return world_.violation(name_ + ": answers out of order");
                                      }
                                      MutableByteView view = frame;
                                      call.done(&view);
                                    },
                                    [this, alive] {
                                      if (*alive) lost();
                                    }});
    refused_ = connection_ == nullptr;
    if (refused_) return connect();
    on_ready_();
  });
}

void Channel::lost() {
  connection_ = nullptr;
  auto calls = std::move(calls_);
  calls_.clear();
  for (Call& call : calls) world_.cancel(call.deadline);
  for (Call& call : calls) call.done(nullptr);
  if (on_lost_) on_lost_();
  connect();
}

void Channel::reconnect() {
  if (connection_ == nullptr) return;
  connection_->close();
  lost();
}

void Channel::move_to(Network& network) {
  network_ = &network;
  reconnect();
}

void Channel::close() {
  *alive_ = false;
  if (connecting_ != 0) world_.cancel(std::exchange(connecting_, 0));
  for (Call& call : calls_) world_.cancel(call.deadline);
  calls_.clear();
  if (connection_ != nullptr) connection_->close();
  connection_ = nullptr;
}

void Channel::add_call(int32_t correlation, std::string_view what, int16_t version, int64_t patience_ms, UniqueFunction<void(MutableByteView*)> done) {
  World::EventId deadline = world_.after_ms(patience_ms + kAnswerWithinMs, [this, what, version, patience_ms] {
    if (brokers_may_be_away) return reconnect();
    world_.violation(fmt::format("{}: {} v{} has got no answer within {} ms", name_, what, version, patience_ms + kAnswerWithinMs));
  });
  calls_.push_back({correlation, deadline, std::move(done)});
}

}  // namespace odradek::sim
