#include "bench/load.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <deque>
#include <memory>
#include <random>
#include <thread>

#include "base/check.h"
#include "bench/socket.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/produce.h"
#include "record/batch.h"
#include "record/batch_builder.h"

namespace odradek::bench {
namespace {

constexpr int16_t kProduceVersion = 7;
constexpr int16_t kFetchVersion = 11;
constexpr size_t kCorrelationAt = 8;  // in a frame: size, api key, version, correlation id

// A whole frame with its size in front.
template <class Request>
Bytes frame_of(const Request& request, int16_t version) {
  auto encoded = protocol::encode_request({.request_api_version = version, .correlation_id = 0, .client_id = "odradek-bench"}, request);
  Bytes frame;
  base::append_be<int32_t>(frame, static_cast<int32_t>(encoded.bytes.size()));
  frame.insert(frame.end(), encoded.bytes.begin(), encoded.bytes.end());
  return frame;
}

Bytes batch_of(const LoadOptions& options, uint64_t seed, int records) {
  record::BuilderOptions building;
  building.codec = options.codec;
  record::BatchBuilder builder(building);
  std::mt19937_64 random(seed);
  // Half of the bytes repeat, so that codecs have something to do that is near to text.
  Bytes value(static_cast<size_t>(options.record_size));
  timespec wall;
  ::clock_gettime(CLOCK_REALTIME, &wall);
  int64_t timestamp = wall.tv_sec * 1000ll + wall.tv_nsec / 1'000'000;
  for (int i = 0; i < records; ++i) {
    for (size_t k = 0; k < value.size(); ++k) value[k] = static_cast<uint8_t>((k / 8) % 2 == 0 ? 'a' + random() % 26 : 'a' + k % 26);
    builder.append(timestamp, std::nullopt, ByteView(value), {});
  }
  return builder.build();
}

Bytes produce_frame(const LoadOptions& options, int32_t partition, Bytes& batch) {
  protocol::ProduceRequest request;
  request.acks = static_cast<int16_t>(options.acks);
  request.timeout_ms = 30'000;
  auto& topic = request.topic_data.emplace_back();
  topic.name = options.topic;
  auto& data = topic.partition_data.emplace_back();
  data.index = partition;
  data.records.bytes = batch;
  return frame_of(request, kProduceVersion);
}

Bytes fetch_frame(const LoadOptions& options, int32_t partition, int64_t offset, int32_t wait_ms) {
  protocol::FetchRequest request;
  request.replica_id = -1;
  request.max_wait_ms = wait_ms;
  request.min_bytes = 1;
  request.max_bytes = 50 << 20;
  request.session_epoch = -1;
  auto& topic = request.topics.emplace_back();
  topic.topic = options.topic;
  auto& asked = topic.partitions.emplace_back();
  asked.partition = partition;
  asked.fetch_offset = offset;
  asked.partition_max_bytes = options.max_bytes;
  return frame_of(request, kFetchVersion);
}

// One connection of the loop. Writes are tried at once; what the socket does not take waits for EPOLLOUT.
class Peer {
 public:
  Peer(Socket socket, int epoll) : socket_(std::move(socket)), epoll_(epoll) {
    socket_.make_nonblocking();
    epoll_event event{.events = EPOLLIN, .data = {.ptr = this}};
    CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket_.descriptor(), &event) == 0);
  }

  bool broken() const { return broken_; }
  void mark_broken() { broken_ = true; }
  // No more events of a broken connection.
  void leave_loop() { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket_.descriptor(), nullptr); }

  void send(ByteView frame) {
    if (pending_.empty()) {
      ssize_t put = ::send(socket_.descriptor(), frame.data(), frame.size(), MSG_NOSIGNAL);
      if (put < 0 && errno != EAGAIN) {
        broken_ = true;
        return;
      }
      if (put == static_cast<ssize_t>(frame.size())) return;
      if (put > 0) frame = frame.subspan(static_cast<size_t>(put));
      want_output(true);
    }
    pending_.insert(pending_.end(), frame.begin(), frame.end());
  }
  void flush() {
    size_t done = 0;
    while (done < pending_.size()) {
      ssize_t put = ::send(socket_.descriptor(), pending_.data() + done, pending_.size() - done, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno != EAGAIN) broken_ = true;
        break;
      }
      done += static_cast<size_t>(put);
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(done));
    if (pending_.empty()) want_output(false);
  }

  // Reads what is there and calls `take` with each whole frame (behind its size).
  template <class Take>
  void receive(Take&& take) {
    for (;;) {
      if (input_.size() - filled_ < (64u << 10)) input_.resize(std::max<size_t>(256u << 10, input_.size() * 2));
      ssize_t got = ::recv(socket_.descriptor(), input_.data() + filled_, input_.size() - filled_, 0);
      if (got == 0 || (got < 0 && errno != EAGAIN)) {
        broken_ = true;
        return;
      }
      if (got < 0) return;
      filled_ += static_cast<size_t>(got);
      size_t at = 0;
      while (filled_ - at >= 4) {
        auto size = static_cast<size_t>(base::load_be<int32_t>(input_.data() + at));
        if (size > (512u << 20)) {
          broken_ = true;
          return;
        }
        if (filled_ - at - 4 < size) {
          if (input_.size() < size + 4) input_.resize(size + 4);
          break;
        }
        take(MutableByteView(input_.data() + at + 4, size));
        at += 4 + size;
      }
      if (at > 0) {
        std::memmove(input_.data(), input_.data() + at, filled_ - at);
        filled_ -= at;
      }
    }
  }

 private:
  void want_output(bool wanted) {
    epoll_event event{.events = EPOLLIN | (wanted ? static_cast<uint32_t>(EPOLLOUT) : 0u), .data = {.ptr = this}};
    ::epoll_ctl(epoll_, EPOLL_CTL_MOD, socket_.descriptor(), &event);
  }

  Socket socket_;
  int epoll_;
  bool broken_ = false;
  Bytes pending_;
  Bytes input_;
  size_t filled_ = 0;
};

class Epoll {
 public:
  Epoll() : descriptor_(::epoll_create1(EPOLL_CLOEXEC)) { CHECK(descriptor_ >= 0); }
  ~Epoll() { ::close(descriptor_); }
  int descriptor() const { return descriptor_; }
  // Waits at most until `deadline_ns`.
  std::span<epoll_event> wait(int64_t deadline_ns) {
    int64_t left = std::max<int64_t>(deadline_ns - now_ns(), 0);
    timespec timeout{left / 1'000'000'000, left % 1'000'000'000};
    int count = ::epoll_pwait2(descriptor_, events_.data(), static_cast<int>(events_.size()), &timeout, nullptr);
    return {events_.data(), static_cast<size_t>(std::max(count, 0))};
  }

 private:
  int descriptor_;
  std::array<epoll_event, 256> events_;
};

void note_error(LoadResult& result, const std::string& what) {
  ++result.errors;
  if (result.first_error.empty()) result.first_error = what;
}

// The moments of an open loop, drawn by all connections of one thread.
class Schedule {
 public:
  // `per_second` requests; 0: no schedule.
  Schedule(double per_second, int64_t start) : step_ns_(per_second > 0 ? 1e9 / per_second : 0), start_(start) {}
  bool open_loop() const { return step_ns_ > 0; }
  int64_t next_due() const { return start_ + static_cast<int64_t>(static_cast<double>(drawn_) * step_ns_); }
  int64_t draw() {
    int64_t due = next_due();
    ++drawn_;
    return due;
  }

 private:
  double step_ns_;
  int64_t start_;
  int64_t drawn_ = 0;
};

struct ProducePeer : Peer {
  using Peer::Peer;
  Bytes frame;
  std::deque<int64_t> waiting;  // moments of requests that have no answer yet
  std::deque<int64_t> backlog;  // moments of requests that could not be sent yet
};

// Where the error code of the one partition stands in an answer of Produce v7.
size_t produce_error_at(const std::string& topic) { return 4 + 4 + 2 + topic.size() + 4 + 4; }

// Joins the threads' results.
template <class Body>
Result<LoadResult> on_threads(int threads, Body&& body) {
  std::vector<Result<LoadResult>> results(static_cast<size_t>(threads), Result<LoadResult>());
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) running.emplace_back([&, i] { results[static_cast<size_t>(i)] = body(i); });
  for (std::thread& thread : running) thread.join();
  LoadResult total;
  for (auto& result : results) {
    if (!result) return fail(result.error());
    total.records += result->records;
    total.record_bytes += result->record_bytes;
    total.requests += result->requests;
    total.errors += result->errors;
    if (total.first_error.empty()) total.first_error = result->first_error;
    total.seconds = std::max(total.seconds, result->seconds);
    total.latency.merge(result->latency);
  }
  return total;
}

int share(int total, int parts, int index) { return total / parts + (index < total % parts ? 1 : 0); }

Result<LoadResult> produce_thread(const LoadOptions& options, const std::vector<PartitionLeader>& leaders, int index, std::atomic<int64_t>& budget) {
  Epoll epoll;
  std::vector<std::unique_ptr<ProducePeer>> peers;
  int connections = share(options.connections, options.threads, index);
  int64_t batch_bytes = 0;
  for (int i = 0; i < connections; ++i) {
    const PartitionLeader& target = leaders[static_cast<size_t>(i * options.threads + index) % leaders.size()];
    auto socket = Socket::connect(target.leader);
    if (!socket) return fail(socket.error());
    Bytes batch = batch_of(options, static_cast<uint64_t>(i + 1), options.records_per_batch);
    batch_bytes = static_cast<int64_t>(batch.size());
    Bytes frame = produce_frame(options, target.partition, batch);
    peers.push_back(std::make_unique<ProducePeer>(std::move(*socket), epoll.descriptor()));
    peers.back()->frame = std::move(frame);
  }
  LoadResult result;
  if (peers.empty()) return result;

  int64_t start = now_ns();
  int64_t end = start + static_cast<int64_t>(options.seconds * 1e9);
  Schedule schedule(options.rate / options.records_per_batch / options.threads, start);
  size_t error_at = produce_error_at(options.topic);
  int32_t correlation = 0;
  bool stopping = false;
  auto send = [&](ProducePeer& peer, int64_t moment) {
    if (options.records > 0 && budget.fetch_sub(options.records_per_batch, std::memory_order_relaxed) <= 0) {
      stopping = true;
      return;
    }
    base::store_be<int32_t>(peer.frame.data() + kCorrelationAt, ++correlation);
    peer.send(peer.frame);
    if (options.acks == 0) {
      ++result.requests;
      result.records += options.records_per_batch;
      result.record_bytes += batch_bytes;
    } else {
      peer.waiting.push_back(moment);
    }
  };
  auto fill = [&](ProducePeer& peer) {
    while (!stopping && !peer.broken() && peer.waiting.size() < static_cast<size_t>(options.in_flight)) {
      if (schedule.open_loop()) {
        if (peer.backlog.empty()) return;
        int64_t moment = peer.backlog.front();
        peer.backlog.pop_front();
        send(peer, moment);
      } else {
        send(peer, now_ns());
        if (options.acks == 0) return;
      }
    }
  };

  size_t next_peer = 0;
  auto outstanding = [&] { return std::any_of(peers.begin(), peers.end(), [](const auto& peer) { return !peer->waiting.empty() && !peer->broken(); }); };
  for (auto& peer : peers) fill(*peer);
  while (true) {
    int64_t now = now_ns();
    if (now >= end) stopping = true;
    if (stopping && (!outstanding() || now >= end + 30'000'000'000)) break;
    if (schedule.open_loop() && !stopping) {
      while (schedule.next_due() <= now) {
        ProducePeer& peer = *peers[next_peer++ % peers.size()];
        peer.backlog.push_back(schedule.draw());
        fill(peer);
      }
    }
    int64_t wake = stopping ? now + 100'000'000 : schedule.open_loop() ? std::min(schedule.next_due(), end) : end;
    if (options.acks == 0 && !schedule.open_loop() && !stopping) {
      for (auto& peer : peers) fill(*peer);
      wake = now;
    }
    for (epoll_event& event : epoll.wait(wake)) {
      auto& peer = *static_cast<ProducePeer*>(static_cast<Peer*>(event.data.ptr));
      if (event.events & EPOLLOUT) peer.flush();
      if (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        int64_t received = 0;
        peer.receive([&](MutableByteView frame) {
          if (received == 0) received = now_ns();
          if (peer.waiting.empty() || frame.size() < error_at + 2) return peer.mark_broken();
          int16_t error = base::load_be<int16_t>(frame.data() + error_at);
          ++result.requests;
          if (error != 0) {
            note_error(result, std::string(name_of(static_cast<ErrorCode>(error))));
          } else {
            result.records += options.records_per_batch;
            result.record_bytes += batch_bytes;
            result.latency.add(received - peer.waiting.front());
          }
          peer.waiting.pop_front();
        });
      }
      if (peer.broken()) {
        note_error(result, "the broker closed a connection");
        peer.leave_loop();
        if (std::all_of(peers.begin(), peers.end(), [](const auto& p) { return p->broken(); })) stopping = true;
        if (result.errors > 1000) return result;
        continue;
      }
      fill(peer);
    }
  }
  result.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return result;
}

struct FetchPeer : Peer {
  using Peer::Peer;
  struct Position {
    int32_t partition;
    int64_t begin;
    int64_t next;
    int64_t end;
  };
  std::vector<Position> positions;  // fetched in turn
  size_t turn = 0;
  int64_t asked_at = 0;
  int64_t due_at = 0;  // with a rate: not before this moment
  bool paused = false;
  bool done = false;
};

// Counts the records of a fetch answer and moves the position. The error code, 0 for none.
int16_t take_fetch(FetchPeer& peer, MutableByteView frame, LoadResult& result) {
  size_t used = 0;
  if (!protocol::decode_response_header(frame, protocol::ApiKey::kFetch, kFetchVersion, used)) return -1;
  auto answer = protocol::decode_body<protocol::FetchResponse>(frame.subspan(used), kFetchVersion);
  if (!answer) return -1;
  if (answer->error_code != 0) return answer->error_code;
  FetchPeer::Position& position = peer.positions[peer.turn];
  for (const auto& topic : answer->responses) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) return partition.error_code;
      ByteView rest = partition.records.bytes;
      result.record_bytes += static_cast<int64_t>(rest.size());
      for (;;) {
        auto batch = record::next_batch(rest);
        if (!batch || !*batch) break;
        result.records += batch->count();
        position.next = std::max(position.next, batch->next_offset().value);
      }
    }
  }
  return 0;
}

Result<LoadResult> consume_thread(const LoadOptions& options, const std::vector<PartitionLeader>& leaders, int index, std::atomic<int64_t>& budget) {
  Epoll epoll;
  std::vector<std::unique_ptr<FetchPeer>> peers;
  for (int i = index; i < options.connections; i += options.threads) {
    // Connection i reads the partitions i, i + connections, ...; with more connections than partitions several read the same.
    const PartitionLeader& first = leaders[static_cast<size_t>(i) % leaders.size()];
    auto socket = Socket::connect(first.leader);
    if (!socket) return fail(socket.error());
    std::vector<FetchPeer::Position> positions;
    for (size_t at = static_cast<size_t>(i) % leaders.size(); at < leaders.size(); at += static_cast<size_t>(options.connections)) {
      auto range = find_offsets(*socket, options.topic, leaders[at].partition);
      if (!range) return fail(range.error());
      positions.push_back({leaders[at].partition, range->begin, options.from_end ? range->end : range->begin, range->end});
    }
    peers.push_back(std::make_unique<FetchPeer>(std::move(*socket), epoll.descriptor()));
    peers.back()->positions = std::move(positions);
  }
  LoadResult result;
  if (peers.empty()) return result;
  int64_t start = now_ns();
  int64_t end = start + static_cast<int64_t>(options.seconds * 1e9);
  size_t active = peers.size();
  const double ns_per_byte = options.bytes_per_second > 0 ? 1e9 / options.bytes_per_second * options.connections : 0;
  auto ask = [&](FetchPeer& peer) {
    if (peer.due_at > now_ns()) {
      peer.paused = true;
      return;
    }
    for (size_t tried = 0; tried < peer.positions.size(); ++tried) {
      peer.turn = (peer.turn + 1) % peer.positions.size();
      FetchPeer::Position& position = peer.positions[peer.turn];
      if (position.next >= position.end) {
        if (options.again && position.begin < position.end) {
          position.next = position.begin;
        } else if (options.again || options.until_end) {
          continue;
        }
      }
      peer.asked_at = now_ns();
      peer.send(fetch_frame(options, position.partition, position.next, peer.positions.size() > 1 ? 10 : 500));
      return;
    }
    peer.done = true;
    --active;
  };
  for (auto& peer : peers) {
    peer->due_at = start;
    ask(*peer);
  }
  while (active > 0 && now_ns() < end) {
    int64_t wake = end;
    for (auto& peer : peers) {
      if (peer->paused && !peer->done && peer->due_at <= now_ns()) {
        peer->paused = false;
        ask(*peer);
      }
      if (peer->paused && !peer->done) wake = std::min(wake, peer->due_at);
    }
    if (active == 0) break;
    for (epoll_event& event : epoll.wait(wake)) {
      auto& peer = *static_cast<FetchPeer*>(static_cast<Peer*>(event.data.ptr));
      if (peer.done) continue;
      if (event.events & EPOLLOUT) peer.flush();
      peer.receive([&](MutableByteView frame) {
        int64_t before = result.records;
        int64_t bytes_before = result.record_bytes;
        if (int16_t error = take_fetch(peer, frame, result); error != 0) {
          note_error(result, std::string(name_of(static_cast<ErrorCode>(error))));
        }
        ++result.requests;
        result.latency.add(now_ns() - peer.asked_at);
        peer.due_at += static_cast<int64_t>(static_cast<double>(result.record_bytes - bytes_before) * ns_per_byte);
        bool enough = options.records > 0 && budget.fetch_sub(result.records - before, std::memory_order_relaxed) <= result.records - before;
        if (enough || result.errors > 100) {
          end = 0;
        } else {
          ask(peer);
        }
      });
      if (peer.broken() && !peer.done) {
        note_error(result, "the broker closed a connection");
        peer.leave_loop();
        peer.done = true;
        --active;
      }
    }
  }
  result.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return result;
}

}  // namespace

Result<LoadResult> run_produce(const LoadOptions& options) {
  auto leaders = find_leaders(options.bootstrap, options.topic, options.partitions, options.replication_factor);
  if (!leaders) return fail(leaders.error());
  std::atomic<int64_t> budget{options.records};
  return on_threads(options.threads, [&](int index) { return produce_thread(options, *leaders, index, budget); });
}

Result<LoadResult> run_consume(const LoadOptions& options) {
  auto leaders = find_leaders(options.bootstrap, options.topic, 0, 1);
  if (!leaders) return fail(leaders.error());
  std::atomic<int64_t> budget{options.records};
  return on_threads(options.threads, [&](int index) { return consume_thread(options, *leaders, index, budget); });
}

Result<LoadResult> run_latency(const LoadOptions& options) {
  auto leaders = find_leaders(options.bootstrap, options.topic, options.partitions, options.replication_factor);
  if (!leaders) return fail(leaders.error());
  const PartitionLeader& target = leaders->front();
  auto writing = Socket::connect(target.leader);
  if (!writing) return fail(writing.error());
  auto reading = Socket::connect(target.leader);
  if (!reading) return fail(reading.error());
  auto range = find_offsets(*reading, options.topic, target.partition);
  if (!range) return fail(range.error());

  Epoll epoll;
  Peer writer(std::move(*writing), epoll.descriptor());
  FetchPeer reader(std::move(*reading), epoll.descriptor());
  reader.positions.push_back({target.partition, range->begin, range->end, INT64_MAX});

  // One record a request; its first 8 bytes are the moment when it was due.
  LoadOptions single = options;
  single.records_per_batch = 1;
  single.record_size = std::max(options.record_size, 8);
  single.codec = record::Codec::kNone;
  Bytes batch = batch_of(single, 1, 1);
  Bytes frame = produce_frame(single, target.partition, batch);
  size_t batch_at = frame.size() - batch.size();
  size_t value_at = frame.size() - static_cast<size_t>(single.record_size) - 1;  // behind the value: the count of headers

  LoadResult result;
  int64_t start = now_ns();
  int64_t end = start + static_cast<int64_t>(options.seconds * 1e9);
  Schedule schedule(options.rate > 0 ? options.rate : 1000, start);
  int64_t sent = 0;
  int32_t correlation = 0;
  auto ask = [&] { reader.send(fetch_frame(single, target.partition, reader.positions[0].next, 500)); };
  ask();
  while (!writer.broken() && !reader.broken()) {
    int64_t now = now_ns();
    bool over = now >= end;
    if (over && (result.records >= sent || now >= end + 5'000'000'000)) break;
    while (!over && schedule.next_due() <= now) {
      base::store_be<int64_t>(frame.data() + value_at, schedule.draw());
      record::set_crc(MutableByteView(frame).subspan(batch_at));
      base::store_be<int32_t>(frame.data() + kCorrelationAt, ++correlation);
      writer.send(frame);
      ++sent;
    }
    for (epoll_event& event : epoll.wait(over ? now + 100'000'000 : std::min(schedule.next_due(), end))) {
      auto* peer = static_cast<Peer*>(event.data.ptr);
      if (event.events & EPOLLOUT) peer->flush();
      if (peer == &writer) {
        writer.receive([&](MutableByteView answer) {
          ++result.requests;
          size_t error_at = produce_error_at(options.topic);
          int16_t error = answer.size() < error_at + 2 ? int16_t{-1} : base::load_be<int16_t>(answer.data() + error_at);
          if (error != 0) {
            note_error(result, std::string(name_of(static_cast<ErrorCode>(error))));
            --sent;
          }
        });
        continue;
      }
      reader.receive([&](MutableByteView answer) {
        int64_t received = now_ns();
        size_t used = 0;
        if (!protocol::decode_response_header(answer, protocol::ApiKey::kFetch, kFetchVersion, used)) return reader.mark_broken();
        auto fetched = protocol::decode_body<protocol::FetchResponse>(answer.subspan(used), kFetchVersion);
        if (!fetched || fetched->responses.empty() || fetched->responses[0].partitions.empty()) return reader.mark_broken();
        const auto& partition = fetched->responses[0].partitions[0];
        if (partition.error_code != 0) note_error(result, std::string(name_of(static_cast<ErrorCode>(partition.error_code))));
        ByteView rest = partition.records.bytes;
        for (;;) {
          auto got = record::next_batch(rest);
          if (!got || !*got) break;
          if (got->base_offset().value < reader.positions[0].next) continue;
          reader.positions[0].next = got->next_offset().value;
          if (got->size_in_bytes() != batch.size()) continue;  // somebody else's
          result.latency.add(received - base::load_be<int64_t>(got->bytes().data() + (value_at - batch_at)));
          result.record_bytes += static_cast<int64_t>(got->size_in_bytes());
          ++result.records;
        }
        ask();
      });
    }
  }
  if (writer.broken() || reader.broken()) note_error(result, "the broker closed a connection");
  result.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return result;
}

}  // namespace odradek::bench
