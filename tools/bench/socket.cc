#include "bench/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <map>

#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/metadata.h"

namespace odradek::bench {
namespace {

tl::unexpected<Error> network_failure(const std::string& what, int error) {
  return fail(ErrorCode::kNetworkException, what + ": " + std::strerror(error), error);
}

std::string named(int16_t code) { return std::string(name_of(static_cast<ErrorCode>(code))); }

}  // namespace

int64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

Result<Address> parse_address(const std::string& text) {
  std::string first = text.substr(0, text.find(','));
  size_t colon = first.rfind(':');
  Address address;
  if (colon == std::string::npos || colon == 0) return fail(ErrorCode::kInvalidRequest, "'" + first + "' is no host:port");
  address.host = first.substr(0, colon);
  if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') address.host = address.host.substr(1, address.host.size() - 2);
  auto [end, error] = std::from_chars(first.data() + colon + 1, first.data() + first.size(), address.port);
  if (error != std::errc{} || end != first.data() + first.size() || address.port < 1 || address.port > 65535) {
    return fail(ErrorCode::kInvalidRequest, "'" + first + "' is no host:port");
  }
  return address;
}

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<Socket> Socket::connect(const Address& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found); error != 0) {
    return fail(ErrorCode::kNetworkException, address.host + ": " + ::gai_strerror(error));
  }
  int last_error = 0;
  Socket socket;
  for (addrinfo* at = found; at != nullptr; at = at->ai_next) {
    socket = Socket(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol));
    if (socket.descriptor_ >= 0 && ::connect(socket.descriptor_, at->ai_addr, at->ai_addrlen) == 0) break;
    last_error = errno;
    socket = Socket();
  }
  ::freeaddrinfo(found);
  if (socket.descriptor_ < 0) return network_failure(address.host + ":" + std::to_string(address.port), last_error);
  int on = 1;
  ::setsockopt(socket.descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  timeval patience{30, 0};
  ::setsockopt(socket.descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return socket;
}

void Socket::make_nonblocking() { ::fcntl(descriptor_, F_SETFL, ::fcntl(descriptor_, F_GETFL) | O_NONBLOCK); }

Result<Bytes> Socket::exchange(ByteView frame) {
  Bytes out;
  base::append_be<int32_t>(out, static_cast<int32_t>(frame.size()));
  out.insert(out.end(), frame.begin(), frame.end());
  for (size_t done = 0; done < out.size();) {
    ssize_t put = ::send(descriptor_, out.data() + done, out.size() - done, MSG_NOSIGNAL);
    if (put < 0) return network_failure("send", errno);
    done += static_cast<size_t>(put);
  }
  auto receive = [&](MutableByteView into) -> Result<void> {
    for (size_t done = 0; done < into.size();) {
      ssize_t got = ::recv(descriptor_, into.data() + done, into.size() - done, 0);
      if (got == 0) return fail(ErrorCode::kNetworkException, "the broker closed the connection");
      if (got < 0) return network_failure("receive", errno);
      done += static_cast<size_t>(got);
    }
    return {};
  };
  uint8_t size_bytes[4];
  if (auto done = receive(size_bytes); !done) return fail(done.error());
  int32_t size = base::load_be<int32_t>(size_bytes);
  if (size < 4 || size > (256 << 20)) return fail(ErrorCode::kCorruptMessage, "an answer of " + std::to_string(size) + " bytes");
  Bytes answer(static_cast<size_t>(size));
  if (auto done = receive(answer); !done) return fail(done.error());
  return answer;
}

// Kafka's KRaft controller takes no request that makes more than 10,000 records.
constexpr int kPartitionsAtOnce = 5'000;

Result<std::vector<PartitionLeader>> find_leaders(const std::string& bootstrap, const std::string& topic, int partitions, int replication_factor) {
  auto address = parse_address(bootstrap);
  if (!address) return fail(address.error());
  auto socket = Socket::connect(*address);
  if (!socket) return fail(socket.error());
  // Only the controller makes topics.
  auto controller_of = [&](const protocol::MetadataResponse& metadata) {
    auto controller = Socket::connect(*address);
    for (const auto& broker : metadata.brokers) {
      if (broker.node_id == metadata.controller_id) controller = Socket::connect({broker.host, broker.port});
    }
    return controller;
  };
  std::string last;
  int64_t deadline = now_ns() + 120'000'000'000;
  int made_partitions = 0;  // of a topic that did not exist
  while (now_ns() < deadline) {
    protocol::MetadataRequest question;
    question.topics.emplace();
    question.topics->emplace_back().name = topic;
    question.allow_auto_topic_creation = false;
    auto answer = socket->ask<protocol::MetadataResponse>(question, 8);
    if (!answer) return fail(answer.error());
    if (answer->topics.empty()) return fail(ErrorCode::kUnknownServerError, "Metadata without the topic");
    const auto& found = answer->topics.front();
    auto error = static_cast<ErrorCode>(found.error_code);
    if (error == ErrorCode::kUnknownTopicOrPartition && partitions > 0) {
      protocol::CreateTopicsRequest creation;
      auto& made = creation.topics.emplace_back();
      made.name = topic;
      made.num_partitions = std::min(partitions, kPartitionsAtOnce);
      made.replication_factor = static_cast<int16_t>(replication_factor);
      creation.timeout_ms = 30'000;
      made_partitions = made.num_partitions;
      auto controller = controller_of(*answer);
      if (!controller) return fail(controller.error());
      auto created = controller->ask<protocol::CreateTopicsResponse>(creation, 4);
      if (!created) return fail(created.error());
      last = created->topics.empty() ? "no answer" : named(created->topics.front().error_code);
    } else if (error == ErrorCode::kNone) {
      std::map<int32_t, Address> brokers;
      for (const auto& broker : answer->brokers) brokers[broker.node_id] = {broker.host, broker.port};
      std::vector<PartitionLeader> leaders;
      for (const auto& partition : found.partitions) {
        if (partition.error_code != 0 || !brokers.contains(partition.leader_id)) {
          last = named(partition.error_code);
          break;
        }
        leaders.push_back({partition.partition_index, brokers[partition.leader_id]});
      }
      if (leaders.size() == found.partitions.size() && !leaders.empty()) {
        // A leader may be named some moments before it serves: a load that starts then would count errors of its own making.
        bool serving = true;
        for (const PartitionLeader& leader : leaders) {
          auto asked = Socket::connect(leader.leader);
          auto range = asked ? find_offsets(*asked, topic, leader.partition) : Result<OffsetRange>(fail(asked.error()));
          if (!range) {
            serving = false;
            last = range.error().what;
          }
        }
        if (serving && made_partitions > 0 && made_partitions < partitions) {
          protocol::CreatePartitionsRequest more;
          more.topics.emplace_back().name = topic;
          more.topics.back().assignments.reset();
          more.topics.back().count = made_partitions = std::min(partitions, made_partitions + kPartitionsAtOnce);
          more.timeout_ms = 30'000;
          auto controller = controller_of(*answer);
          auto grown = controller ? controller->ask<protocol::CreatePartitionsResponse>(more, 1) : fail(controller.error());
          if (!grown) return fail(grown.error());
          if (grown->results.empty() || grown->results.front().error_code != 0) return fail(ErrorCode::kUnknownServerError, "topic " + topic + " gets no more partitions");
        } else if (serving && (made_partitions == 0 || leaders.size() >= static_cast<size_t>(partitions))) {
          return leaders;
        }
      }
    } else if (error == ErrorCode::kLeaderNotAvailable) {
      last = named(found.error_code);
    } else {
      return fail(error, "topic " + topic + ": " + named(found.error_code));
    }
    timespec pause{0, 50'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return fail(ErrorCode::kRequestTimedOut, "topic " + topic + " has no leaders: " + last);
}

Result<OffsetRange> find_offsets(Socket& leader, const std::string& topic, int32_t partition) {
  OffsetRange range;
  for (auto [timestamp, to] : {std::pair{int64_t{-2}, &range.begin}, std::pair{int64_t{-1}, &range.end}}) {
    protocol::ListOffsetsRequest question;
    question.replica_id = -1;
    auto& asked = question.topics.emplace_back();
    asked.name = topic;
    auto& one = asked.partitions.emplace_back();
    one.partition_index = partition;
    one.timestamp = timestamp;
    auto answer = leader.ask<protocol::ListOffsetsResponse>(question, 2);
    if (!answer) return fail(answer.error());
    const auto& found = answer->topics.at(0).partitions.at(0);
    if (found.error_code != 0) return fail(static_cast<ErrorCode>(found.error_code), "ListOffsets: " + named(found.error_code));
    *to = found.offset;
  }
  return range;
}

}  // namespace odradek::bench
