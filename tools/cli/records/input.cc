#include "cli/records/input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/text.h"
#include "model/error_code.h"

namespace odradek::cli {
namespace {

using Json = nlohmann::ordered_json;  // headers keep their order

// The text or bytes under `name` or `name`_base64; nullopt: null or missing.
Result<std::optional<std::string>> field(const Json& json, const std::string& name) {
  if (auto found = json.find(name); found != json.end() && !found->is_null()) {
    return found->is_string() ? found->get<std::string>() : found->dump();  // a number or an object is its own text
  }
  auto found = json.find(name + "_base64");
  if (found == json.end() || found->is_null()) return std::nullopt;
  auto bytes = found->is_string() ? base::from_base64(found->get_ref<const std::string&>()) : std::nullopt;
  if (!bytes) return fail(ErrorCode::kInvalidRequest, name + "_base64 is not base64");
  return bytes;
}

std::optional<int64_t> integer(const Json& json) {
  if (!json.is_number_integer() || (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX})) return std::nullopt;
  return json.get<int64_t>();
}

Result<void> read_headers(const Json& json, std::vector<InputHeader>& headers) {
  if (json.is_object()) {
    for (const auto& [name, value] : json.items()) {
      headers.push_back({name, value.is_null() ? std::nullopt : std::optional(value.is_string() ? value.get<std::string>() : value.dump())});
    }
    return {};
  }
  if (!json.is_array()) return fail(ErrorCode::kInvalidRequest, "headers are neither an object nor a list");
  for (const auto& each : json) {
    if (!each.is_object() || !each.contains("name") || !each["name"].is_string()) return fail(ErrorCode::kInvalidRequest, "a header has no name");
    auto value = field(each, "value");
    if (!value) return fail(std::move(value.error()));
    headers.push_back({each["name"].get<std::string>(), std::move(*value)});
  }
  return {};
}

}  // namespace

Input::State Input::read_more(int wait_ms) {
  if (end_) return State::kEnd;
  pollfd waiting{descriptor_, POLLIN, 0};
  int ready = ::poll(&waiting, 1, wait_ms);
  if (ready == 0 || (ready < 0 && errno == EINTR)) return State::kNothingYet;
  if (at_ > 0) {
    buffer_.erase(0, at_);
    searched_ -= at_;
    at_ = 0;
  }
  constexpr size_t kPiece = 256 << 10;
  size_t size = buffer_.size();
  buffer_.resize(size + kPiece);
  ssize_t got = ::read(descriptor_, buffer_.data() + size, kPiece);
  buffer_.resize(size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return State::kNothingYet;
  if (got < 0) error_ = errno;
  if (got <= 0) end_ = true;
  return got > 0 ? State::kData : State::kEnd;
}

std::optional<std::string_view> Input::line() {
  size_t end = buffer_.find('\n', std::max(at_, searched_));
  if (end == std::string::npos) {
    searched_ = buffer_.size();
    if (!end_ || at_ == buffer_.size()) return std::nullopt;
    end = buffer_.size();
  }
  std::string_view result = std::string_view(buffer_).substr(at_, end - at_);
  at_ = std::min(end + 1, buffer_.size());
  searched_ = at_;
  return result;
}

Result<std::optional<std::string_view>> Input::length_prefixed() {
  std::string_view left = rest();
  if (left.empty() && end_) return std::nullopt;
  if (left.size() >= 4) {
    auto size = base::load_be<int32_t>(left.data());
    if (size < 0 || size > 1 << 30) return fail(ErrorCode::kInvalidRequest, "a record of " + std::to_string(size) + " bytes is announced");
    if (left.size() - 4 >= static_cast<size_t>(size)) {
      at_ += 4 + static_cast<size_t>(size);
      searched_ = std::max(searched_, at_);
      return left.substr(4, static_cast<size_t>(size));
    }
  }
  if (end_) return fail(ErrorCode::kInvalidRequest, "the input ends inside a record");
  return std::nullopt;
}

Result<InputRecord> parse_json_record(std::string_view line) {
  Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return fail(ErrorCode::kInvalidRequest, "not a JSON object");
  InputRecord record;
  auto key = field(json, "key");
  if (!key) return fail(std::move(key.error()));
  auto value = field(json, "value");
  if (!value) return fail(std::move(value.error()));
  record.key = std::move(*key);
  record.value = std::move(*value);
  if (auto found = json.find("headers"); found != json.end() && !found->is_null()) {
    if (auto read = read_headers(*found, record.headers); !read) return fail(std::move(read.error()));
  }
  if (auto found = json.find("partition"); found != json.end() && !found->is_null()) {
    auto number = integer(*found);
    if (!number || *number < 0 || *number > INT32_MAX) return fail(ErrorCode::kInvalidRequest, "partition is not a number of one");
    record.partition = static_cast<int32_t>(*number);
  }
  if (auto found = json.find("timestamp"); found != json.end() && !found->is_null()) {
    record.timestamp = integer(*found);
    if (!record.timestamp) return fail(ErrorCode::kInvalidRequest, "timestamp is not a number of milliseconds");
  }
  return record;
}

}  // namespace odradek::cli
