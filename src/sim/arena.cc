#include "sim/arena.h"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace odradek::sim {
namespace {

constexpr uintptr_t kBase = 0x2000'0000'0000;
constexpr size_t kSize = size_t{16} << 30;  // of addresses; pages come when they are touched
constexpr size_t kHeader = 16;

struct Header {
  void* block;
  uint64_t size_class;  // the block has 2^size_class bytes
};
static_assert(sizeof(Header) == kHeader);

uintptr_t next = 0;  // 0: not in use
std::array<void*, 64> unused{};

[[maybe_unused]] bool is_ours(const void* at) {
  auto address = reinterpret_cast<uintptr_t>(at);
  return address >= kBase && address < kBase + kSize;
}

[[maybe_unused]] void* take(size_t size, size_t alignment) {
  size_t wanted = size + kHeader + (alignment > kHeader ? alignment : 0);
  auto size_class = static_cast<uint64_t>(std::bit_width(wanted - 1 < 31 ? size_t{31} : wanted - 1));
  void* block = unused[size_class];
  if (block != nullptr) {
    unused[size_class] = *static_cast<void**>(block);
  } else {
    if (next + (size_t{1} << size_class) > kBase + kSize) return nullptr;
    block = reinterpret_cast<void*>(next);
    next += size_t{1} << size_class;
  }
  uintptr_t at = reinterpret_cast<uintptr_t>(block) + kHeader;
  at = (at + alignment - 1) & ~(alignment - 1);
  *reinterpret_cast<Header*>(at - kHeader) = {block, size_class};
  return reinterpret_cast<void*>(at);
}

[[maybe_unused]] void give(void* at) {
  Header header = *reinterpret_cast<Header*>(reinterpret_cast<uintptr_t>(at) - kHeader);
  *static_cast<void**>(header.block) = unused[header.size_class];
  unused[header.size_class] = header.block;
}

}  // namespace

void use_arena() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  void* got = ::mmap(reinterpret_cast<void*>(kBase), kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == reinterpret_cast<void*>(kBase)) next = kBase;
#endif
}

}  // namespace odradek::sim

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

void* allocate(size_t size, size_t alignment) {
  using namespace odradek::sim;
  void* at = next != 0 ? take(size, alignment)
             : alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                                                     : std::malloc(size == 0 ? 1 : size);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}
void release(void* at) {
  using namespace odradek::sim;
  if (at == nullptr) return;
  if (is_ours(at)) {
    give(at);
  } else {
    std::free(at);
  }
}

}  // namespace

void* operator new(size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) { return allocate(size, static_cast<size_t>(alignment)); }
void* operator new[](size_t size, std::align_val_t alignment) { return allocate(size, static_cast<size_t>(alignment)); }
void operator delete(void* at) noexcept { release(at); }
void operator delete[](void* at) noexcept { release(at); }
void operator delete(void* at, size_t) noexcept { release(at); }
void operator delete[](void* at, size_t) noexcept { release(at); }
void operator delete(void* at, std::align_val_t) noexcept { release(at); }
void operator delete[](void* at, std::align_val_t) noexcept { release(at); }
void operator delete(void* at, size_t, std::align_val_t) noexcept { release(at); }
void operator delete[](void* at, size_t, std::align_val_t) noexcept { release(at); }

#endif
