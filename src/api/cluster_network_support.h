// The network of cluster_support.h: connections that carry encoded requests with a delay, in order, and break. Tests only.
#pragma once

#include <algorithm>
#include <chrono>

#include "api/cluster_support.h"
#include "base/check.h"
#include "protocol/codec.h"
#include "request/request_context.h"

namespace odradek::api::testing {

inline Bytes flatten(const base::Output& output) {
  Bytes all;
  size_t from = 0;
  for (const auto& insert : output.inserts) {
    all.insert(all.end(), output.bytes.begin() + static_cast<ptrdiff_t>(from), output.bytes.begin() + static_cast<ptrdiff_t>(insert.at));
    from = insert.at;
    Bytes slice(static_cast<size_t>(insert.slice.size));
    EXPECT_EQ(insert.slice.file->file().pread(insert.slice.position, slice).value_or(0), slice.size());
    all.insert(all.end(), slice.begin(), slice.end());
  }
  all.insert(all.end(), output.bytes.begin() + static_cast<ptrdiff_t>(from), output.bytes.end());
  return all;
}

// Both ends. As in `server`: the next request starts when the one before is settled or finished; answers leave in request order.
class TestCluster::Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Call {
    protocol::ApiKey key;
    int16_t version = 0;
    Bytes body;
    UniqueFunction<void(Result<Bytes>)> done;  // body of the answer
    std::optional<Bytes> answer;
  };
  Connection(TestCluster& cluster, BrokerId from, BrokerId to) : cluster_(cluster), from_(from), to_(to) {}

  BrokerId from() const { return from_; }
  BrokerId to() const { return to_; }

  void send(protocol::ApiKey key, int16_t version, Bytes body, UniqueFunction<void(Result<Bytes>)> done) {
    auto call = std::make_shared<Call>();  // shared: by the connection and what is on the way
    call->key = key;
    call->version = version;
    call->body = std::move(body);
    call->done = std::move(done);
    if (broken_) return fail(*call);
    calls_.push_back(call);
    after(arrival_ms_, [self = shared_from_this(), call] { self->arrive(call); });
  }
  // By the network, or an end that is gone.
  void break_off() {
    if (broken_) return;
    broken_ = true;
    inbox_.clear();
    for (auto& call : std::exchange(on_the_way_, {})) fail(*call);
    for (auto& call : std::exchange(calls_, {})) fail(*call);
  }
  // By the one who asks: it hears nothing more.
  void close() {
    broken_ = true;
    inbox_.clear();
    on_the_way_.clear();
    calls_.clear();
  }

 private:
  class Incoming final : public request::RequestContext {
   public:
    Incoming(protocol::RequestHeader header, std::shared_ptr<Connection> connection, std::shared_ptr<Call> call)
        : RequestContext(std::move(header), call->body, info(), times_), connection_(std::move(connection)), call_(std::move(call)) {}

   private:
    static const request::ConnectionInfo& info() {
      static const request::ConnectionInfo info{.id = 1, .listener = "PLAINTEXT", .peer_host = "127.0.0.1"};
      return info;
    }
    void on_settle() override { connection_->next(); }
    void on_throttle(int32_t) override {}
    void on_release_body() override { call_->body.assign(call_->body.size(), 0xdd); }
    void on_finish(Completion completion) override {
      if (completion.kind != Completion::Kind::kAnswer) return connection_->break_off();
      call_->answer = flatten(completion.output);
      if (!settled()) connection_->next();
      connection_->answer();
    }
    std::shared_ptr<Connection> connection_;
    std::shared_ptr<Call> call_;
    request::Times times_;
  };

  void fail(Call& call) {
    if (call.done == nullptr) return;
    cluster_.wire_->post([done = std::exchange(call.done, nullptr)]() mutable { done(odradek::fail(ErrorCode::kNetworkException, "the connection broke")); });
  }
  void after(int64_t& last_ms, Task task) {
    const int64_t now_ms = cluster_.runtime.clock().monotonic_ms();
    last_ms = std::max(last_ms, now_ms + cluster_.one_way());
    if (last_ms == now_ms) return cluster_.wire_->post(std::move(task));
    cluster_.runtime.timers().after(std::chrono::milliseconds(last_ms - now_ms), cluster_.wire_->posting(std::move(task)));
  }
  void arrive(const std::shared_ptr<Call>& call) {
    if (broken_) return;
    if (cluster_.cuts_.contains(std::minmax(from_.value, to_.value)) || !cluster_.runs(to_.value)) return break_off();
    inbox_.push_back(call);
    pump();
  }
  void pump() {
    if (busy_ || inbox_.empty() || broken_) return;
    auto call = inbox_.front();
    inbox_.pop_front();
    busy_ = true;
    TestBroker& target = cluster_.broker(to_.value);
    if (call->key == protocol::ApiKey::kFetch) {
      ++cluster_.fetches;
      if (cluster_.on_fetch) {
        auto request = protocol::decode_body<protocol::FetchRequest>(call->body, call->version);
        cluster_.on_fetch(from_, to_, *request);
        call->body = protocol::encode_body(*request, call->version);
      }
    }
    protocol::RequestHeader header{static_cast<int16_t>(call->key), call->version, 1, "broker-" + std::to_string(from_.value) + "-fetcher-0"};
    target.dispatcher->handle(std::make_unique<Incoming>(header, shared_from_this(), call));
  }
  void next() {
    busy_ = false;
    cluster_.wire_->post([self = shared_from_this()] { self->pump(); });
  }
  void answer() {
    while (!calls_.empty() && calls_.front()->answer) {
      after(answer_ms_, [self = shared_from_this(), call = calls_.front()] { self->deliver(*call); });
      on_the_way_.push_back(calls_.front());
      calls_.pop_front();
    }
  }
  void deliver(Call& call) {
    if (broken_ || call.done == nullptr) return;
    if (cluster_.cuts_.contains(std::minmax(from_.value, to_.value))) return break_off();
    on_the_way_.pop_front();
    size_t used = 0;
    EXPECT_TRUE(protocol::decode_response_header(*call.answer, call.key, call.version, used));
    Bytes body(call.answer->begin() + static_cast<ptrdiff_t>(used), call.answer->end());
    if (call.key == protocol::ApiKey::kFetch && cluster_.on_answer) {
      auto response = protocol::decode_body<protocol::FetchResponse>(body, call.version);
      cluster_.on_answer(from_, to_, *response);
      body = protocol::encode_body(*response, call.version);
    }
    std::exchange(call.done, nullptr)(std::move(body));
  }

  TestCluster& cluster_;
  const BrokerId from_, to_;
  bool broken_ = false, busy_ = false;
  std::deque<std::shared_ptr<Call>> calls_;  // not answered, in order
  std::deque<std::shared_ptr<Call>> on_the_way_;
  std::deque<std::shared_ptr<Call>> inbox_;
  int64_t arrival_ms_ = 0, answer_ms_ = 0;
};

class TestCluster::Link : public replication::LeaderLink {
 public:
  explicit Link(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~Link() override { connection_->close(); }
  void fetch(protocol::FetchRequest request, int16_t version, Done<protocol::FetchResponse> done) override { send(request, version, std::move(done)); }
  void list_offsets(protocol::ListOffsetsRequest request, Done<protocol::ListOffsetsResponse> done) override {
    send(request, replication::kFollowerListOffsetsVersion, std::move(done));
  }

 private:
  template <class Request, class Response>
  void send(const Request& request, int16_t version, Done<Response> done) {
    connection_->send(Request::kKey, version, protocol::encode_body(request, version), [version, done = std::move(done)](Result<Bytes> body) mutable {
      if (!body) return done(odradek::fail(std::move(body.error())));
      auto frame = std::make_shared<Bytes>(std::move(*body));  // shared: with the answer
      auto message = protocol::decode_body<Response>(*frame, version);
      ASSERT_TRUE(message) << message.error().what;
      done(replication::LinkAnswer<Response>{frame, std::move(*message)});
    });
  }
  std::shared_ptr<Connection> connection_;  // shared: with what is on the way
};

class TestCluster::Links : public replication::LeaderLinks {
 public:
  Links(TestCluster& cluster, BrokerId from) : cluster_(cluster), from_(from) {}
  std::unique_ptr<replication::LeaderLink> open(const replication::LinkTarget& target) override {
    auto connection = std::make_shared<Connection>(cluster_, from_, target.leader);
    cluster_.connections_.push_back(connection);
    return std::make_unique<Link>(std::move(connection));
  }

 private:
  TestCluster& cluster_;
  const BrokerId from_;
};

class TestCluster::Channel : public replication::AlterPartitionChannel {
 public:
  Channel(TestCluster& cluster, BrokerId from) : cluster_(cluster), from_(from) {}
  void send(protocol::AlterPartitionRequest request, UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done) override {
    cluster_.wire_->post([&cluster = cluster_, from = from_, request = std::move(request), done = std::move(done)]() mutable {
      cluster.alter(from, std::move(request), std::move(done));
    });
  }

 private:
  TestCluster& cluster_;
  const BrokerId from_;
};

}  // namespace odradek::api::testing
