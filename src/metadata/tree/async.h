// Steps that wait for the store, written one after the other: coroutines on the metadata executor.
//   Async<Result<int>> f(TreeClient& tree) { auto node = co_await tree.get("/x"); ... co_return 1; }
// Rule: no lambda that captures more than references and pointers inside a co_await expression: g++ 12 copies such temporaries bit by
// bit into the frame. Name it in a line of its own first.
// An Async runs when it is awaited, or by spawn(). It always runs to its end: the store answers every operation.
// Thread: everything between two co_awaits runs on the executor that resumed it (the store's callback executor).
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/executor.h"
#include "base/function.h"

namespace odradek::metadata {

template <class T>
class [[nodiscard]] Async;

namespace detail {

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) noexcept {
    return done.promise().waiter;
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  std::coroutine_handle<> waiter = std::noop_coroutine();
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Async<T> get_return_object();
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};
template <>
struct Promise<void> : PromiseBase {
  Async<void> get_return_object();
  void return_void() const noexcept {}
};

}  // namespace detail

template <class T>
class [[nodiscard]] Async {
 public:
  using promise_type = detail::Promise<T>;

  explicit Async(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Async(Async&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Async& operator=(Async&&) = delete;
  ~Async() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
    handle_.promise().waiter = waiter;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
Async<T> Promise<T>::get_return_object() {
  return Async<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Async<void> Promise<void>::get_return_object() {
  return Async<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

// Owns itself; gone at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};
inline Detached run_detached(Async<void> work) { co_await std::move(work); }

}  // namespace detail

// Starts `work` now, on this thread; it ends by itself. What it refers to must live until then.
inline void spawn(Async<void> work) { detail::run_detached(std::move(work)); }

// Waits for a callback of the form UniqueFunction<void(T)>, called exactly once, later, on any thread (which then goes on).
template <class T, class Start>
class CallbackAwaiter {
 public:
  explicit CallbackAwaiter(Start start) : start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    start_([this, waiter](T result) {
      result_.emplace(std::move(result));
      waiter.resume();
    });
  }
  T await_resume() { return std::move(*result_); }

 private:
  Start start_;
  std::optional<T> result_;
};
template <class T, class Start>
CallbackAwaiter<T, Start> callback(Start start) {
  return CallbackAwaiter<T, Start>(std::move(start));
}

// Goes on on `executor` after `ms`.
class Sleep {
 public:
  Sleep(base::Runtime& runtime, base::Executor& executor, int64_t ms) : runtime_(runtime), executor_(executor), ms_(ms) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    base::Executor& executor = executor_;
    runtime_.timers().after(std::chrono::milliseconds(ms_), [&executor, waiter] { executor.post([waiter] { waiter.resume(); }); });
  }
  void await_resume() const noexcept {}

 private:
  base::Runtime& runtime_;
  base::Executor& executor_;
  int64_t ms_;
};

}  // namespace odradek::metadata
