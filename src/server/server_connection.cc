#include "server/server_connection.h"

#include <cstddef>
#include <cstdint>
#include <exception>

#include "base/check.h"
#include "base/log.h"
#include "protocol/header.h"
#include "server/handler_pool.h"

namespace odradek::server {

// ---- ServerRequest

ServerRequest::ServerRequest(protocol::RequestHeader header, MutableByteView body, ServerExchange& exchange)
    : RequestContext(std::move(header), body, exchange.owner.info(), exchange.times), exchange_(exchange) {}

ServerRequest::~ServerRequest() {
  if (!finished() && std::uncaught_exceptions() > 0) finish_and_close();
}

// The memory is the exchange's.
void ServerRequest::operator delete(void* at) {
  ServerExchange* exchange;
  std::memcpy(&exchange, static_cast<std::byte*>(at) - sizeof exchange, sizeof exchange);
  exchange->drop_reference();
}

void ServerRequest::on_settle() {
  exchange_.times.handled_ns = exchange_.owner.clock().monotonic_ns();
  exchange_.owner.settle(false);
}

void ServerRequest::on_throttle(int32_t ms) {
  exchange_.mute_until_ns = exchange_.owner.clock().monotonic_ns() + ms * 1'000'000ll;
  exchange_.owner.throttle();
}

void ServerRequest::on_release_body() { exchange_.frame.reset(); }

void ServerRequest::on_finish(Completion completion) {
  ServerExchange& exchange = exchange_;
  ServerConnection& owner = exchange.owner;
  if (const size_t size = completion.output.size(); size > INT32_MAX) {
    // A frame's size is an int32: the client would take what follows for something else.
    log::error("server", "an answer to {} for {}:{} has {} bytes, more than a frame can hold: the connection is closed",
               protocol::name_of(api()), owner.info().peer_host, owner.info().peer_port, size);
    completion = {Completion::Kind::kClose, {}};
  }
  switch (completion.kind) {
    case Completion::Kind::kAnswer: exchange.answer = net::Exchange::Answer::kSend; break;
    case Completion::Kind::kNoAnswer: exchange.answer = net::Exchange::Answer::kNothing; break;
    case Completion::Kind::kClose: exchange.answer = net::Exchange::Answer::kClose; break;
    case Completion::Kind::kAnswerAndClose: exchange.answer = net::Exchange::Answer::kSendAndClose; break;
  }
  bool close = completion.kind == Completion::Kind::kClose || completion.kind == Completion::Kind::kAnswerAndClose;
  exchange.output = std::move(completion.output);
  exchange.counted_bytes = static_cast<int64_t>(exchange.output.bytes.size());
  int64_t now_ns = owner.clock().monotonic_ns();
  exchange.times.finished_ns = now_ns;
  if (exchange.counted_bytes != 0) owner.count_answer(exchange.counted_bytes);
  bool was_settled = settled();
  if (!was_settled || close) {
    int64_t left_at_ns = owner.settle(close);
    if (!was_settled) exchange.times.handled_ns = left_at_ns != 0 ? left_at_ns : now_ns;
  }
  owner.answer(&exchange);
  // Nothing of the connection may be touched any more.
}

// ---- ServerExchange

namespace {

// Exchanges are made and, but for a few, freed on network threads.
struct ExchangeMemory {
  void* unused = nullptr;
  size_t count = 0;
  size_t kept = 0;  // at most; none on a thread that makes none
  ~ExchangeMemory() {
    while (unused != nullptr) {
      void* next = *static_cast<void**>(unused);
      ::operator delete(unused);
      unused = next;
    }
    kept = count = 0;
  }
};
thread_local ExchangeMemory t_exchanges;

}  // namespace

void* ServerExchange::operator new(size_t size) {
  ExchangeMemory& memory = t_exchanges;
  memory.kept = 512;
  if (memory.unused == nullptr) return ::operator new(size);
  void* at = memory.unused;
  memory.unused = *static_cast<void**>(at);
  --memory.count;
  return at;
}

void ServerExchange::operator delete(void* at) {
  ExchangeMemory& memory = t_exchanges;
  if (memory.count >= memory.kept) return ::operator delete(at);
  *static_cast<void**>(at) = memory.unused;
  memory.unused = at;
  ++memory.count;
}

void ServerExchange::release() {
  frame.reset();
  output = {};
  drop_reference();
}

void ServerExchange::drop_reference() {
  // Acquire-release: the last one sees what the other has done before it frees the memory.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

request::RequestPtr ServerExchange::make_request() {
  static_assert(offsetof(Place, request) == sizeof(ServerExchange*));
  place_.exchange = this;
  size_t used = 0;
  auto header = protocol::decode_request_header(frame.bytes(), used);
  if (!header) {
    log::debug("server", "request from {}:{}: {}", owner.info().peer_host, owner.info().peer_port, header.error().what);
    return nullptr;
  }
  api = header->request_api_key;
  version = header->request_api_version;
  references_.store(2, std::memory_order_relaxed);  // nobody else knows of it yet
  return request::RequestPtr(new (place_.request) ServerRequest(std::move(*header), frame.bytes().subspan(used), *this));
}

// ---- ServerConnection

ServerConnection::ServerConnection(net::Connection& connection, std::shared_ptr<RequestQueue> queue, std::shared_ptr<HandlerPool> pool,
                                   base::Clock& clock, int64_t max_answer_bytes)
    : connection_(connection),
      queue_(std::move(queue)),
      pool_(std::move(pool)),
      clock_(clock),
      max_answer_bytes_(max_answer_bytes) {
  info_.id = connection.id;
  info_.listener = connection.listener;
  info_.protocol = connection.protocol;
  info_.peer_host = connection.peer.host;
  info_.peer_port = connection.peer.port;
  info_.local_host = connection.local.host;
  info_.local_port = connection.local.port;
}

bool ServerConnection::push(ServerExchange* exchange) {
  mailbox_.push(exchange);
  uint64_t word = word_.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    next = word + 1;
    if ((word & kActive) == 0 && !is_held(word)) next |= kActive;
    // Release: the frame is in the mailbox; meets the holder's acquire.
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed));
  if ((word & kActive) != 0) return false;
  if ((next & kActive) == 0) {
    queue_->bound.remove(1);  // waits behind a pending request: not counted
    return false;
  }
  if (frames(word) != 0) queue_->bound.add(frames(word));  // a request has been settled this very moment
  queue_->push(this);
  return true;
}

void ServerConnection::try_activate() {
  uint64_t word = word_.load(std::memory_order_acquire);
  do {
    if (frames(word) == 0 || (word & kActive) != 0 || is_held(word)) return;
  } while (!word_.compare_exchange_weak(word, word | kActive, std::memory_order_acq_rel, std::memory_order_acquire));
  queue_->bound.add(frames(word));
  // The caller's exchange, or its being the network thread, keeps the connection alive.
  queue_->push(this);
  pool_->work_came();
}

int64_t ServerConnection::settle(bool close) {
  if (close) word_.fetch_or(kClosing, std::memory_order_acq_rel);
  uint64_t word = word_.load(std::memory_order_acquire);
  int64_t left_at_ns;
  do {
    // Neither active nor free to become it: the handler has written it and let go, and no other one comes before this request is settled.
    left_at_ns = (word & kActive) != 0 ? 0 : left_at_ns_;
  } while (!word_.compare_exchange_weak(word, word & ~kRunning, std::memory_order_acq_rel, std::memory_order_acquire));
  if ((word & kActive) == 0) try_activate();  // else the handler goes on by itself
  return left_at_ns;
}

void ServerConnection::answer_sent(int64_t bytes) {
  if (bytes == 0) return;
  // Sequentially consistent: meets answers_are_full().
  int64_t left = answer_bytes_.fetch_sub(bytes, std::memory_order_seq_cst) - bytes;
  if (left <= max_answer_bytes_ && (word_.load(std::memory_order_seq_cst) & kFull) != 0) {
    word_.fetch_and(~kFull, std::memory_order_seq_cst);
    try_activate();
  }
}

bool ServerConnection::answers_are_full() {
  if (answer_bytes_.load(std::memory_order_seq_cst) <= max_answer_bytes_) return false;
  word_.fetch_or(kFull, std::memory_order_seq_cst);
  if (answer_bytes_.load(std::memory_order_seq_cst) > max_answer_bytes_) return true;
  word_.fetch_and(~kFull, std::memory_order_seq_cst);
  return false;
}

void ServerConnection::unthrottle() {
  word_.fetch_and(~kThrottled, std::memory_order_acq_rel);
  try_activate();
}

bool ServerConnection::on_close() {
  uint64_t word = word_.load(std::memory_order_acquire);
  uint64_t next;
  do {
    next = word | kDead;
    if ((word & kActive) != 0) {
      next |= kAwaited;
    } else if (frames(word) != 0 && (word & kRunning) == 0) {
      next |= kActive;  // they were held: nobody else would drop them
    }
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_acquire));
  if ((word & kActive) != 0) return false;
  if ((next & kActive) != 0) {
    queue_->bound.add(frames(next));
    drop_frames();
  }
  return true;
}

ServerExchange* ServerConnection::take_frame() {
  if (taken_ == nullptr) taken_ = mailbox_.pop_all();
  net::Exchange* exchange = taken_;
  CHECK(exchange != nullptr);
  taken_ = exchange->next.load(std::memory_order_relaxed);
  return static_cast<ServerExchange*>(exchange);
}

void ServerConnection::drop_frames() {
  net::Exchange* first = taken_;
  if (first == nullptr) {
    first = mailbox_.pop_all();
  } else {
    net::Exchange* last = first;
    while (net::Exchange* next = last->next.load(std::memory_order_relaxed)) last = next;
    last->next.store(mailbox_.pop_all(), std::memory_order_relaxed);
  }
  taken_ = nullptr;
  uint64_t word = word_.load(std::memory_order_acquire);
  while (!word_.compare_exchange_weak(word, word & ~(kFrames | kActive | kAwaited), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
  }
  queue_->bound.remove(frames(word));
  // From here on each exchange, or the reactor's waiting, keeps the connection alive, and nothing else does.
  net::Connection& connection = connection_;
  while (first != nullptr) {
    net::Exchange* next = first->next.load(std::memory_order_relaxed);
    first->answer = net::Exchange::Answer::kNothing;
    connection.answer(first);
    first = next;
  }
  if ((word & kAwaited) != 0) connection.released();
}

// False: its header cannot be read; the connection is closing.
bool ServerConnection::start(ServerExchange* exchange, request::RequestSink& sink) {
  exchange->times.started_ns = clock_.monotonic_ns();
  request::RequestPtr request = exchange->make_request();
  if (request != nullptr) {
    sink.handle(std::move(request));
    return true;
  }
  exchange->answer = net::Exchange::Answer::kClose;
  exchange->times.handled_ns = exchange->times.finished_ns = exchange->times.started_ns;
  settle(true);
  connection_.answer(exchange);
  return false;
}

void ServerConnection::run(request::RequestSink& sink, int turns) {
  for (int turn = 0; turn < turns; ++turn) {
    uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & kDead) != 0) return drop_frames();
    if (frames(word) == 0 || is_held(word) || answers_are_full()) break;
    ServerExchange* exchange = take_frame();
    word_.fetch_add(kRunning - 1, std::memory_order_acq_rel);
    queue_->bound.remove(1);
    if (!start(exchange, sink)) break;
  }
  uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    if ((word & kDead) != 0) return drop_frames();
    if (frames(word) != 0 && !is_held(word)) return queue_->push(this);  // still the holder; whoever takes it is the next
    if ((word & kRunning) != 0) left_at_ns_ = clock_.monotonic_ns();
    RequestBound& bound = queue_->bound;
    if (word_.compare_exchange_weak(word, word & ~kActive, std::memory_order_acq_rel, std::memory_order_acquire)) {
      bound.remove(frames(word));
      return;
    }
  }
}

}  // namespace odradek::server
