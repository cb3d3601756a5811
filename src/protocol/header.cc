#include "protocol/header.h"

namespace odradek::protocol {

int16_t request_header_version(ApiKey key, int16_t version) {
  const ApiInfo* api = find_api(static_cast<int16_t>(key));
  if (api == nullptr) return 1;
  if (key == ApiKey::kControlledShutdown && version == 0) return 0;
  return version >= api->flexible_from ? 2 : 1;
}

int16_t response_header_version(ApiKey key, int16_t version) {
  const ApiInfo* api = find_api(static_cast<int16_t>(key));
  if (api == nullptr || key == ApiKey::kApiVersions) return 0;
  return version >= api->flexible_from ? 1 : 0;
}

Result<RequestHeader> decode_request_header(MutableByteView frame, size_t& used) {
  Reader reader(frame);
  RequestHeader header;
  reader.number(header.request_api_key, "request_api_key");
  reader.number(header.request_api_version, "request_api_version");
  reader.number(header.correlation_id, "correlation_id");
  if (reader.failed()) return fail(reader.result("RequestHeader").error());
  if (find_api(header.request_api_key) == nullptr) {
    return fail(ErrorCode::kInvalidRequest, "unknown api key " + std::to_string(header.request_api_key));
  }
  if (header.request_api_version < 0) {
    return fail(ErrorCode::kInvalidRequest, "negative version " + std::to_string(header.request_api_version));
  }
  int16_t version = request_header_version(static_cast<ApiKey>(header.request_api_key), header.request_api_version);
  if (version >= 1) reader.string(header.client_id, false, true, "client_id");
  if (version >= 2) {
    std::vector<UnknownTag> ignored;
    reader.unknown_tags(ignored);
  }
  if (reader.failed()) return fail(reader.result("RequestHeader").error());
  used = reader.used();
  return header;
}

Result<int32_t> decode_response_header(MutableByteView frame, ApiKey key, int16_t version, size_t& used) {
  Reader reader(frame);
  int32_t correlation_id = 0;
  reader.number(correlation_id, "correlation_id");
  if (response_header_version(key, version) >= 1) {
    std::vector<UnknownTag> ignored;
    reader.unknown_tags(ignored);
  }
  if (reader.failed()) return fail(reader.result("ResponseHeader").error());
  used = reader.used();
  return correlation_id;
}

void encode_request_header(Writer& writer, const RequestHeader& header) {
  int16_t version = request_header_version(static_cast<ApiKey>(header.request_api_key), header.request_api_version);
  writer.number(header.request_api_key);
  writer.number(header.request_api_version);
  writer.number(header.correlation_id);
  if (version >= 1) writer.string(header.client_id, false, true);
  if (version >= 2) writer.uvarint(0);
}

void encode_response_header(Writer& writer, ApiKey key, int16_t version, int32_t correlation_id) {
  writer.number(correlation_id);
  if (response_header_version(key, version) >= 1) writer.uvarint(0);
}

}  // namespace odradek::protocol
