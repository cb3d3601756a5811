#include "client/connection.h"

#include <algorithm>
#include <utility>

#include "protocol/messages/api_versions.h"

namespace odradek::client {

using protocol::ApiKey;

Result<std::unique_ptr<Connection>> Connection::open(net::Dialer& dialer, const net::Endpoint& address, ConnectionOptions options) {
  auto connection = std::unique_ptr<Connection>(new Connection(dialer, address, std::move(options)));
  auto stream = dialer.dial(address, connection->deadline(connection->options_.connect_timeout));
  if (!stream) return fail(std::move(stream.error()));
  connection->stream_ = std::move(*stream);
  if (auto agreed = connection->negotiate(); !agreed) return fail(std::move(agreed.error()));
  return connection;
}

// Version 3 first. A broker that does not know it answers UNSUPPORTED_VERSION in version 0 (KIP-511); then version 0 is asked.
Result<void> Connection::negotiate() {
  for (int16_t version : {3, 0}) {
    protocol::ApiVersionsRequest request;
    request.client_software_name = "odradek";
    request.client_software_version = options_.software_version;
    Ticket ticket{.correlation_id = next_correlation_id_++, .key = ApiKey::kApiVersions, .version = version};
    protocol::RequestHeader header{.request_api_version = version, .correlation_id = ticket.correlation_id, .client_id = options_.client_id};
    if (auto sent = send_frame(protocol::encode_request(std::move(header), request), ticket, true); !sent) return sent;
    size_t used = 0;
    auto frame = receive_frame(ticket, used);
    if (!frame) return fail(std::move(frame.error()));
    MutableByteView body = MutableByteView(*frame).subspan(used);
    bool refused = body.size() >= 2 && base::load_be<int16_t>(body.data()) == static_cast<int16_t>(ErrorCode::kUnsupportedVersion);
    if (refused && version != 0) continue;
    auto answer = protocol::decode_body<protocol::ApiVersionsResponse>(body, version);
    if (!answer) return fail(std::move(answer.error()));
    if (answer->error_code != 0) return fail(static_cast<ErrorCode>(answer->error_code), address_.to_string() + " refused ApiVersions");
    for (const auto& api : answer->api_keys) versions_[api.api_key] = {api.min_version, api.max_version};
    return {};
  }
  return fail(ErrorCode::kUnsupportedVersion, address_.to_string() + " knows no version of ApiVersions");
}

Result<int16_t> Connection::version_for(ApiKey key, int16_t low, int16_t high) const {
  auto found = versions_.find(static_cast<int16_t>(key));
  if (found != versions_.end()) {
    int16_t best = std::min(high, found->second.high);
    if (best >= std::max(low, found->second.low)) return best;
  }
  return fail(ErrorCode::kUnsupportedVersion, address_.to_string() + " does not serve " + std::string(name_of(key)) +
                                                  (found == versions_.end() ? "" : " in a version known here"));
}

Result<void> Connection::send_frame(base::Output output, const Ticket& ticket, bool answered) {
  CHECK(output.inserts.empty());
  if (broken_) return fail(ErrorCode::kNetworkException, "the connection to " + address_.to_string() + " is broken");
  std::array<uint8_t, 4> size;
  base::store_be<int32_t>(size.data(), static_cast<int32_t>(output.bytes.size()));
  ByteView parts[] = {size, output.bytes};
  if (auto sent = stream_->send(parts, deadline(options_.request_timeout)); !sent) {
    broken_ = true;
    return sent;
  }
  if (answered) waiting_.push_back(ticket);
  return {};
}

Result<Bytes> Connection::receive_frame(const Ticket& ticket, size_t& used) {
  int64_t until = deadline(options_.request_timeout);
  for (;;) {
    if (auto early = early_.extract(ticket.correlation_id); !early.empty()) {
      Bytes frame = std::move(early.mapped());
      auto id = protocol::decode_response_header(frame, ticket.key, ticket.version, used);
      if (!id) {
        broken_ = true;
        return fail(std::move(id.error()));
      }
      return frame;
    }
    if (why_broken_) return fail(*why_broken_);
    if (broken_) return fail(ErrorCode::kNetworkException, "the connection to " + address_.to_string() + " is broken");
    if (auto taken = take_frame(until); !taken) {
      broken_ = true;
      return fail(std::move(taken.error()));
    }
  }
}

bool Connection::arrived(const Ticket& ticket, int64_t deadline_ns) {
  while (!broken_ && !early_.contains(ticket.correlation_id)) {
    auto taken = take_frame(deadline_ns);
    if (taken) continue;
    if (taken.error().code == ErrorCode::kRequestTimedOut) return false;
    broken_ = true;
    why_broken_ = std::move(taken.error());
  }
  return true;
}

void Connection::give_up(Error why) {
  if (broken_) return;
  broken_ = true;
  why_broken_ = std::move(why);
}

Result<void> Connection::take_frame(int64_t deadline_ns) {
  CHECK(!waiting_.empty());  // the ticket is one of this connection, not yet received
  if (auto read = next_frame(deadline_ns); !read) return read;
  Bytes frame = std::exchange(frame_, {});
  head_size_ = frame_size_ = 0;
  Ticket first = waiting_.front();
  waiting_.pop_front();
  int32_t id = base::load_be<int32_t>(frame.data());
  if (id != first.correlation_id) {
    return fail(ErrorCode::kCorruptMessage, address_.to_string() + " answered " + std::to_string(id) + " where " +
                                                std::to_string(first.correlation_id) + " was next");
  }
  early_.emplace(id, std::move(frame));
  return {};
}

// At least the 4 bytes of a correlation id.
Result<void> Connection::next_frame(int64_t deadline_ns) {
  if (auto filled = fill(head_, head_size_, deadline_ns); !filled) return filled;
  auto size = base::load_be<int32_t>(head_.data());
  if (size < 4 || size > options_.max_answer_bytes) {
    return fail(ErrorCode::kCorruptMessage, address_.to_string() + " announced an answer of " + std::to_string(size) + " bytes");
  }
  // Memory as the bytes come: the size is only a claim.
  while (frame_size_ < static_cast<size_t>(size)) {
    if (frame_.size() == frame_size_) frame_.resize(std::min<size_t>(static_cast<size_t>(size), std::max<size_t>(2 * frame_size_, 1 << 20)));
    if (auto filled = fill(frame_, frame_size_, deadline_ns); !filled) return filled;
  }
  return {};
}

Result<void> Connection::fill(MutableByteView into, size_t& done, int64_t deadline_ns) {
  while (done < into.size()) {
    auto got = stream_->receive(into.subspan(done), deadline_ns);
    if (!got) return fail(std::move(got.error()));
    done += *got;
  }
  return {};
}

}  // namespace odradek::client
