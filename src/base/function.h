// A callable that is moved, not copied, so it may own what it needs.
#pragma once

#include <absl/functional/any_invocable.h>

namespace odradek {

template <class Signature>
using UniqueFunction = absl::AnyInvocable<Signature>;
using Task = UniqueFunction<void()>;

}  // namespace odradek
