// The one way errors travel: a value, or an Error with a wire code. See CONTRIBUTING.md, "Errors".
// Data-path functions neither throw nor log: they return, and the one who answers the client logs.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include <cstdint>
#include <utility>

namespace odradek {

// Kafka's error codes; the values stand in model/error_code.h.
enum class ErrorCode : int16_t;

struct Error {
  ErrorCode code{};
  std::string what;  // for people: what failed and, where it helps, how to mend it
  int os_error = 0;  // errno of a failed system call, 0 otherwise
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(ErrorCode code, std::string what, int os_error = 0) {
  return tl::unexpected<Error>(Error{code, std::move(what), os_error});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// KAFKA_STORAGE_ERROR: what the file layer reports (model/error_code.h checks that the value is the same).
inline constexpr ErrorCode kStorageErrorCode = static_cast<ErrorCode>(56);

}  // namespace odradek
