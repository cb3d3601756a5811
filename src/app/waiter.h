// How start and stop wait for what answers on other threads: the process waits, the simulation lets time go on instead.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "base/function.h"
#include "base/result.h"
#include "model/error_code.h"

namespace odradek::app {

class Waiter {
 public:
  virtual ~Waiter() = default;
  // Calls begin(done); true once `done` was called, false after `limit`. `done` may come later still, or never.
  virtual bool wait(UniqueFunction<void(Task done)> begin, std::chrono::milliseconds limit) = 0;
};

class ThreadWaiter : public Waiter {
 public:
  bool wait(UniqueFunction<void(Task done)> begin, std::chrono::milliseconds limit) override {
    auto promise = std::make_shared<std::promise<void>>();  // shared: `done` may come after the limit
    auto future = promise->get_future();
    begin([promise] { promise->set_value(); });
    return future.wait_for(limit) == std::future_status::ready;
  }
};

// The answer of `call(reply)`. Errors: its own; kRequestTimedOut.
template <class T, class Call>
Result<T> wait_for(Waiter& waiter, Call&& call, const char* what, std::chrono::milliseconds limit = std::chrono::milliseconds(30'000)) {
  auto answer = std::make_shared<std::optional<Result<T>>>();  // shared: it may come after the limit
  bool in_time = waiter.wait(
      [&](Task done) {
        call([answer, done = std::move(done)](Result<T> result) mutable {
          *answer = std::move(result);
          done();
        });
      },
      limit);
  if (!in_time) {
    return fail(ErrorCode::kRequestTimedOut, std::string(what) + " took longer than " + std::to_string(limit.count() / 1000) +
                                                 " s: look for a stuck disk or another process on the data");
  }
  return std::move(**answer);
}

}  // namespace odradek::app
