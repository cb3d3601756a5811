// Typed requests to one broker over a net::Link, for the inside of the broker: nothing waits, several requests may be on the way,
// answers come in their order. By default no ApiVersions is sent and each request names its version, as Kafka's brokers do among
// themselves (the inter-broker protocol fixes the versions); with `ask_versions` the first thing sent is ApiVersions, and a request goes
// in the highest version that both sides know.
// Errors: those of net/link.h; kUnsupportedVersion, no version in common; kInvalidRequest or kCorruptMessage, an answer that cannot be
// read (the link is broken then, as after every error of the network).
// Thread: all calls on the executor, which has one thread; destruction anywhere (elsewhere it closes a little later, on the executor).
// `done` runs on the executor, once, never inside ask(), also with an error after the destruction: it must hold on to what it uses, or
// look whether that is still there.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "net/link.h"
#include "protocol/header.h"

namespace odradek::client {

struct BrokerLinkOptions {
  std::string client_id;
  net::LinkOptions link;
  std::chrono::milliseconds request_timeout{30'000};
  bool ask_versions = false;
  std::string software_version = "1";  // of ApiVersions: letters, digits, '-' and '.'
};

// A decoded answer and the frame that its Records point into.
template <class Response>
struct LinkAnswer {
  net::Answer frame;
  Response message;
  int16_t version = 0;
};

class BrokerLink {
 public:
  BrokerLink(net::Links& links, base::Executor& executor, const net::Endpoint& to, BrokerLinkOptions options);
  ~BrokerLink();  // closes
  BrokerLink(const BrokerLink&) = delete;
  BrokerLink& operator=(const BrokerLink&) = delete;

  // `version`: the one that is sent; with ask_versions the highest that may be.
  template <class Response, class Request>
  void ask(const Request& request, int16_t version, UniqueFunction<void(Result<LinkAnswer<Response>>)> done) {
    ask<Response>(request, version, request_timeout(), std::move(done));
  }
  template <class Response, class Request>
  void ask(const Request& request, int16_t version, std::chrono::milliseconds timeout, UniqueFunction<void(Result<LinkAnswer<Response>>)> done) {
    static_assert(Request::kKey == Response::kKey);
    CHECK(version >= Request::kMinVersion && version <= Request::kMaxVersion);
    Take take = [done = std::move(done)](Result<Raw> raw) mutable -> Result<void> {
      if (!raw) {
        done(fail(raw.error()));
        return {};
      }
      auto message = protocol::decode_body<Response>(raw->frame.bytes().subspan(raw->body_at), raw->version);
      if (!message) {
        Error why = message.error();
        done(fail(why));
        return fail(std::move(why));
      }
      done(LinkAnswer<Response>{std::move(raw->frame), std::move(*message), raw->version});
      return {};
    };
    auto encode = [](const Request& what, protocol::RequestHeader header) { return protocol::encode_request(std::move(header), what); };
    Wanted wanted{Request::kKey, Request::kMinVersion, version, timeout};
    if (!versions_known()) return send_later(wanted, [encode, request](protocol::RequestHeader header) { return encode(request, std::move(header)); }, std::move(take));
    auto header = next_header(wanted);
    if (!header) return refuse(std::move(header.error()), std::move(take));
    int16_t chosen = header->request_api_version;
    int32_t correlation_id = header->correlation_id;
    send(wanted, chosen, correlation_id, encode(request, std::move(*header)), std::move(take));
  }

  // After this nothing gets through any more; make a new one.
  bool broken() const;
  size_t in_flight() const;
  int64_t received_bytes() const;
  const net::Endpoint& address() const;

 private:
  struct Raw {
    net::Answer frame;
    size_t body_at = 0;
    int16_t version = 0;
  };
  struct Wanted {
    protocol::ApiKey key;
    int16_t low, high;
    std::chrono::milliseconds timeout;
  };
  struct State;
  using Encode = UniqueFunction<base::Output(protocol::RequestHeader header)>;
  // Decodes and tells the one who asked; the error breaks the link.
  using Take = UniqueFunction<Result<void>(Result<Raw>)>;
  bool versions_known() const;
  Result<protocol::RequestHeader> next_header(const Wanted& wanted);
  void send(const Wanted& wanted, int16_t version, int32_t correlation_id, base::Output request, Take take);
  void send_later(const Wanted& wanted, Encode encode, Take take);
  void refuse(Error why, Take take);
  std::chrono::milliseconds request_timeout() const;

  std::shared_ptr<State> state_;  // shared: answers may come after the end
};

}  // namespace odradek::client
