#include "client/broker_link.h"

#include <gtest/gtest.h>

#include "base/manual_runtime.h"
#include "model/error_code.h"
#include "protocol/messages/allocate_producer_ids.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/controlled_shutdown.h"

namespace odradek::client {
namespace {

using protocol::AllocateProducerIdsRequest;
using protocol::AllocateProducerIdsResponse;
using protocol::ApiKey;
using protocol::ApiVersionsResponse;
using protocol::ControlledShutdownRequest;
using protocol::ControlledShutdownResponse;

// The network: keeps what was sent, answers when the test does.
class FakeLink final : public net::Link {
 public:
  struct Sent {
    Bytes bytes;
    protocol::RequestHeader header;
    Done done;
  };
  struct Wire {  // outlives the link
    std::deque<Sent> sent;
    bool broken = false, closed = false;
    std::optional<Error> why;
  };
  FakeLink(std::shared_ptr<Wire> wire, base::Executor& executor) : wire_(std::move(wire)), executor_(executor) {}
  ~FakeLink() override {
    wire_->closed = true;
    fail_all({ErrorCode::kNetworkException, "closed"});
  }
  void send(base::Output request, std::chrono::milliseconds, Done done) override {
    if (wire_->broken) {
      executor_.post([done = std::move(done), why = *wire_->why]() mutable { done(fail(why)); });
      return;
    }
    Sent& one = wire_->sent.emplace_back();
    one.bytes = std::move(request.bytes);
    size_t used = 0;
    one.header = *protocol::decode_request_header(one.bytes, used);
    one.done = std::move(done);
  }
  void fail_all(Error why) override {
    if (wire_->broken) return;
    wire_->broken = true;
    wire_->why = why;
    for (Sent& one : std::exchange(wire_->sent, {})) {
      executor_.post([done = std::move(one.done), why]() mutable { done(fail(why)); });
    }
  }
  bool broken() const override { return wire_->broken; }
  int64_t received_bytes() const override { return 0; }

 private:
  std::shared_ptr<Wire> wire_;
  base::Executor& executor_;
};

class BrokerLinkTest : public testing::Test, public net::Links {
 protected:
  std::unique_ptr<net::Link> open(const net::Endpoint&, net::LinkOptions, base::Executor& executor) override { return std::make_unique<FakeLink>(wire_, executor); }

  std::unique_ptr<BrokerLink> make(bool ask_versions) {
    BrokerLinkOptions options;
    options.client_id = "7";
    options.ask_versions = ask_versions;
    std::unique_ptr<BrokerLink> made;
    on_executor([&] { made = std::make_unique<BrokerLink>(*this, *executor_, net::Endpoint{"there", 9}, options); });
    return made;
  }
  void on_executor(UniqueFunction<void()> what) {
    executor_->post([&] { what(); });
    runtime_.run_until_idle();
  }
  void ask(BrokerLink& link, int16_t version = 3) {
    on_executor([&] {
      link.ask<ControlledShutdownResponse>(ControlledShutdownRequest{}, version, [this](Result<LinkAnswer<ControlledShutdownResponse>> answer) { answers_.push_back(std::move(answer)); });
    });
  }
  template <class Response>
  void answer(const Response& response, int32_t shift = 0) {
    FakeLink::Sent one = std::move(wire_->sent.front());
    wire_->sent.pop_front();
    base::Output output = protocol::encode_response(one.header.correlation_id + shift, one.header.request_api_version, response);
    on_executor([&] { one.done(net::Answer(output.bytes)); });
  }
  static ApiVersionsResponse knows(ApiKey key, int16_t low, int16_t high) {
    ApiVersionsResponse response;
    auto& row = response.api_keys.emplace_back();
    row.api_key = static_cast<int16_t>(key);
    row.min_version = low;
    row.max_version = high;
    return response;
  }
  ApiKey next_key() { return static_cast<ApiKey>(wire_->sent.front().header.request_api_key); }

  std::vector<Result<LinkAnswer<ControlledShutdownResponse>>> answers_;  // first: what the others end with still writes to it
  base::ManualRuntime runtime_;
  std::unique_ptr<base::Executor> executor_ = runtime_.make_executor("test", 1);
  std::shared_ptr<FakeLink::Wire> wire_ = std::make_shared<FakeLink::Wire>();
};

TEST_F(BrokerLinkTest, FixedVersionsAreSentAtOnceAndSeveralAreOnTheWay) {
  auto link = make(false);
  ask(*link, 3);
  ask(*link, 2);
  ASSERT_EQ(wire_->sent.size(), 2u);
  EXPECT_EQ(next_key(), ApiKey::kControlledShutdown);
  EXPECT_EQ(wire_->sent[0].header.request_api_version, 3);
  EXPECT_EQ(wire_->sent[0].header.correlation_id, 0);
  EXPECT_EQ(wire_->sent[0].header.client_id, "7");
  EXPECT_EQ(wire_->sent[1].header.request_api_version, 2);
  EXPECT_EQ(link->in_flight(), 2u);
  ControlledShutdownResponse response;
  response.error_code = 41;
  answer(response);
  answer(ControlledShutdownResponse{});
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_EQ(answers_[0]->message.error_code, 41);
  EXPECT_EQ(answers_[1]->version, 2);
  EXPECT_EQ(link->in_flight(), 0u);
}

TEST_F(BrokerLinkTest, VersionsAreAskedForFirstAndTheHighestCommonOneIsSent) {
  auto link = make(true);
  ask(*link);
  ASSERT_EQ(wire_->sent.size(), 1u);
  EXPECT_EQ(next_key(), ApiKey::kApiVersions);
  answer(knows(ApiKey::kControlledShutdown, 0, 2));
  ASSERT_EQ(wire_->sent.size(), 1u);
  EXPECT_EQ(next_key(), ApiKey::kControlledShutdown);
  EXPECT_EQ(wire_->sent.front().header.request_api_version, 2);
  answer(ControlledShutdownResponse{});
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0]->version, 2);
  std::optional<ErrorCode> error;
  on_executor([&] {
    link->ask<AllocateProducerIdsResponse>(AllocateProducerIdsRequest{}, 0, [&](auto refused) { error = refused.error().code; });
    EXPECT_FALSE(error) << "never inside ask()";
  });
  EXPECT_EQ(error, ErrorCode::kUnsupportedVersion);
  EXPECT_FALSE(link->broken());
}

TEST_F(BrokerLinkTest, ABrokerThatRefusesTheVersionOfApiVersionsIsAskedInTheOldest) {
  auto link = make(true);
  ask(*link);
  EXPECT_GT(wire_->sent.front().header.request_api_version, 0);
  FakeLink::Sent first = std::move(wire_->sent.front());
  wire_->sent.pop_front();
  ApiVersionsResponse refusal;
  refusal.error_code = static_cast<int16_t>(ErrorCode::kUnsupportedVersion);
  base::Output output = protocol::encode_response(first.header.correlation_id, 0, refusal);
  on_executor([&] { first.done(net::Answer(output.bytes)); });
  ASSERT_EQ(wire_->sent.size(), 1u);
  EXPECT_EQ(next_key(), ApiKey::kApiVersions);
  EXPECT_EQ(wire_->sent.front().header.request_api_version, 0);
  answer(knows(ApiKey::kControlledShutdown, 0, 3));
  EXPECT_EQ(wire_->sent.front().header.request_api_version, 3);
}

TEST_F(BrokerLinkTest, WhatWaitsForTheVersionsFailsWithTheConnection) {
  auto link = make(true);
  ask(*link);
  on_executor([&] { FakeLink(wire_, *executor_).fail_all({ErrorCode::kRequestTimedOut, "late"}); });
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].error().code, ErrorCode::kRequestTimedOut);
  EXPECT_TRUE(link->broken());
  ask(*link);
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_FALSE(answers_[1]);
}

TEST_F(BrokerLinkTest, AnAnswerOutOfOrderBreaksTheLink) {
  auto link = make(false);
  ask(*link);
  ask(*link);
  answer(ControlledShutdownResponse{}, 1);
  ASSERT_EQ(answers_.size(), 2u);
  for (auto& one : answers_) EXPECT_EQ(one.error().code, ErrorCode::kCorruptMessage);
  EXPECT_TRUE(link->broken());
}

TEST_F(BrokerLinkTest, AnAnswerThatCannotBeReadBreaksTheLink) {
  auto link = make(false);
  ask(*link);
  FakeLink::Sent one = std::move(wire_->sent.front());
  wire_->sent.pop_front();
  on_executor([&] { one.done(net::Answer(Bytes{0, 0, 0, 0, 0, 0})); });
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_FALSE(answers_[0]);
  EXPECT_TRUE(link->broken());
}

TEST_F(BrokerLinkTest, EveryoneWhoWaitsHearsOfTheEnd) {
  auto fixed = make(false);
  ask(*fixed);
  fixed.reset();  // elsewhere than on the executor
  runtime_.run_until_idle();
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].error().code, ErrorCode::kNetworkException);
  wire_ = std::make_shared<FakeLink::Wire>();
  auto asking = make(true);
  ask(*asking);
  on_executor([&] { asking.reset(); });
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_EQ(answers_[1].error().code, ErrorCode::kNetworkException);
  EXPECT_TRUE(wire_->closed);
}

}  // namespace
}  // namespace odradek::client
