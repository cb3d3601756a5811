// Request and response headers, and whole frames. Shape: int32 size (net reads and writes it), header, body.
// Request header: api key int16, version int16, correlation id int32, from v1 client id (nullable string, always with int16
// length), from v2 a tag section. Response header: correlation id int32, from v1 a tag section.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/output.h"
#include "base/result.h"
#include "protocol/api_keys.h"
#include "protocol/codec.h"

namespace odradek::protocol {

struct RequestHeader {
  int16_t request_api_key = 0;
  int16_t request_api_version = 0;
  int32_t correlation_id = 0;
  std::optional<std::string> client_id;
};

// 2 for flexible versions, else 1; 0 for ControlledShutdown v0. Versions above the known ones count as flexible where the api is.
int16_t request_header_version(ApiKey key, int16_t version);
// 1 for flexible versions, else 0; always 0 for ApiVersions.
int16_t response_header_version(ApiKey key, int16_t version);

// `used`: bytes of the header, the body starts behind them. The version is not checked against the api's range (ApiVersions
// answers unknown ones). Errors: kInvalidRequest: unknown api key, negative version, or the header ends early.
Result<RequestHeader> decode_request_header(MutableByteView frame, size_t& used);
// The correlation id. Errors: kInvalidRequest.
Result<int32_t> decode_response_header(MutableByteView frame, ApiKey key, int16_t version, size_t& used);

void encode_request_header(Writer& writer, const RequestHeader& header);
void encode_response_header(Writer& writer, ApiKey key, int16_t version, int32_t correlation_id);

// Header and body, without the size in front. The message's version must be in its range (CHECK).
template <class M>
base::Output encode_response(int32_t correlation_id, int16_t version, const M& message) {
  static_assert(!M::kIsRequest);
  Writer writer;
  encode_response_header(writer, M::kKey, version, correlation_id);
  message.encode(writer, version);
  return std::move(writer).finish();
}

// `header.request_api_key` is taken from the message.
template <class M>
base::Output encode_request(RequestHeader header, const M& message) {
  static_assert(M::kIsRequest);
  header.request_api_key = static_cast<int16_t>(M::kKey);
  Writer writer;
  encode_request_header(writer, header);
  message.encode(writer, header.request_api_version);
  return std::move(writer).finish();
}

}  // namespace odradek::protocol
