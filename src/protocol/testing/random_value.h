// Random values for message fields: for tests only. Strings are UTF-8 of 1 to 4 byte characters, so that other
// implementations give back the same bytes.
#pragma once

#include <deque>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "protocol/codec.h"
#include "protocol/testing/any_message.h"

namespace odradek::protocol::testing {

class RandomValue {
 public:
  explicit RandomValue(uint64_t seed) : engine_(seed) {}

  // True once in `of` times.
  bool chance(uint32_t of) { return below(of) == 0; }
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(engine_() % end); }

  template <class T>
    requires std::is_integral_v<T>
  void value(T& to, int16_t) {
    // The values at the edges more often than by chance.
    switch (below(8)) {
      case 0: to = 0; break;
      case 1: to = static_cast<T>(-1); break;
      case 2: to = std::numeric_limits<T>::max(); break;
      case 3: to = std::numeric_limits<T>::min(); break;
      default: to = static_cast<T>(engine_());
    }
  }
  void value(bool& to, int16_t) { to = chance(2); }
  void value(double& to, int16_t) { to = static_cast<double>(static_cast<int64_t>(engine_())) / 1024; }
  void value(Uuid& to, int16_t version) {
    if (chance(4)) return;
    for (uint8_t& byte : to.bytes) value(byte, version);
  }
  void value(std::string& to, int16_t) {
    static constexpr const char* kCharacters[] = {"a", "B", "7", "-", "\xc3\xa9", "\xe4\xb8\x96", "\xf0\x9f\x98\x80"};
    to.clear();
    for (uint32_t left = chance(20) ? 200 : below(9); left > 0; --left) to += kCharacters[below(std::size(kCharacters))];
  }
  void value(Bytes& to, int16_t version) {
    to.resize(chance(20) ? 300 : below(9));
    for (uint8_t& byte : to) value(byte, version);
  }
  // The view's bytes live as long as this object.
  void value(Records& to, bool nullable, int16_t version) {
    to.null = nullable && chance(3);
    if (to.null) return;
    Bytes& bytes = kept_.emplace_back();
    value(bytes, version);
    to.bytes = bytes;
  }
  template <class T>
  void value(std::vector<T>& to, int16_t version) {
    to.resize(below(4));
    for (T& element : to) value(element, version);
  }
  template <class T>
  void value(std::optional<T>& to, bool nullable, int16_t version) {
    if (nullable && chance(3)) {
      to.reset();
    } else {
      value(to.emplace(T{}), version);
    }
  }
  template <class T>
    requires requires(T& message) { message.unknown_tags; }
  void value(T& to, int16_t version) {
    randomize(to, *this, version);
  }

  void unknown_tags(std::vector<UnknownTag>& to) {
    if (!chance(6)) return;
    uint32_t tag = 100;
    for (uint32_t left = 1 + below(2); left > 0; --left) {
      tag += 1 + below(20000);
      UnknownTag& unknown = to.emplace_back();
      unknown.tag = tag;
      value(unknown.payload, 0);
    }
  }

 private:
  std::mt19937_64 engine_;
  std::deque<Bytes> kept_;
};

template <class M>
AnyMessage any_message(std::string_view kind, int key) {
  AnyMessage any;
  any.name = M::kName;
  any.kind = kind;
  any.key = key;
  any.min = M::kMinVersion;
  any.max = M::kMaxVersion;
  any.recode = [](MutableByteView body, int16_t version) -> Result<Bytes> {
    auto message = decode_body<M>(body, version);
    if (!message) return fail(std::move(message.error()));
    return encode_body(*message, version);
  };
  any.stable = [](MutableByteView body, int16_t version) {
    auto first = decode_body<M>(body, version);
    if (!first) return true;
    Bytes again = encode_body(*first, version);
    auto second = decode_body<M>(again, version);
    return second.has_value() && encode_body(*second, version) == again;
  };
  any.random = [](RandomValue& random, int16_t version) {
    M message;
    randomize(message, random, version);
    return encode_body(message, version);
  };
  return any;
}

}  // namespace odradek::protocol::testing
