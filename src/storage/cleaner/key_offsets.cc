#include "storage/cleaner/key_offsets.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace odradek::storage {
namespace {

struct Sip {
  uint64_t v0, v1, v2, v3;
  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }
  void take(uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
  uint64_t end() {
    rounds(4);
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

uint64_t little_endian(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

}  // namespace

KeyHash hash_key(uint64_t secret_low, uint64_t secret_high, ByteView key) {
  Sip sip{secret_low ^ 0x736f6d6570736575, secret_high ^ 0x646f72616e646f6d ^ 0xee, secret_low ^ 0x6c7967656e657261, secret_high ^ 0x7465646279746573};
  size_t at = 0;
  for (; at + 8 <= key.size(); at += 8) sip.take(little_endian(key.data() + at));
  uint64_t last = static_cast<uint64_t>(key.size()) << 56;
  for (size_t i = 0; at + i < key.size(); ++i) last |= uint64_t{key[at + i]} << (8 * i);
  sip.take(last);
  sip.v2 ^= 0xee;
  KeyHash hash;
  hash.low = sip.end();
  sip.v1 ^= 0xdd;
  hash.high = sip.end();
  return hash;
}

KeyOffsets::KeyOffsets(base::Random& random, int64_t memory_bytes, double load_factor, int64_t most_keys)
    : secret_low_(random.next()), secret_high_(random.next()), slots_in_memory_(std::max<int64_t>(memory_bytes / kSlotBytes, 2)) {
  // One slot stays free: a search ends there.
  const double load = std::clamp(load_factor, 0.01, 1.0);
  const int64_t keys = std::max<int64_t>(static_cast<int64_t>(static_cast<double>(slots_in_memory_) * load), 1);
  most_keys_ = std::min(keys, std::max<int64_t>(most_keys, 1));
  slots_count_ = most_keys_ == keys ? slots_in_memory_ : std::min(slots_in_memory_, static_cast<int64_t>(static_cast<double>(most_keys_) / load) + 2);
  most_keys_ = std::min(most_keys_, slots_count_ - 1);
  slots_.reset(static_cast<Slot*>(std::calloc(static_cast<size_t>(slots_count_), sizeof(Slot))));
  if (slots_ == nullptr) throw std::bad_alloc();
}

KeyOffsets::Slot* KeyOffsets::slot_of(ByteView key, KeyHash& hash) const {
  hash = hash_key(secret_low_, secret_high_, key);
  const auto count = static_cast<uint64_t>(slots_count_);
  for (uint64_t at = hash.low % count;; at = at + 1 == count ? 0 : at + 1) {
    Slot& slot = slots_[at];
    if (slot.next_offset == 0 || slot.hash == hash) return &slot;
  }
}

bool KeyOffsets::put(ByteView key, Offset offset) {
  if (size_ >= most_keys_) return false;
  KeyHash hash;
  Slot* slot = slot_of(key, hash);
  if (slot->next_offset == 0) {
    slot->hash = hash;
    ++size_;
  }
  slot->next_offset = offset.value + 1;
  raise_latest(offset);
  return true;
}

Offset KeyOffsets::find(ByteView key) const {
  KeyHash hash;
  return {slot_of(key, hash)->next_offset - 1};
}

}  // namespace odradek::storage
