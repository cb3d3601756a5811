// The floor: what the machine itself costs. One epoll thread that reads Produce requests, checks each batch's CRC32C, gives it its
// offset, appends it to the partition's file and answers. No index, no log management, no limits, no other thread. It answers
// `odradek bench produce` and nothing else.
//   floor PORT FOLDER
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc.h"
#include "protocol/codec.h"
#include "protocol/header.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/metadata.h"
#include "protocol/messages/produce.h"
#include "record/batch.h"

using namespace odradek;

namespace {

struct PartitionFile {
  int descriptor = -1;
  int64_t size = 0;
  int64_t next_offset = 0;
};

struct Floor {
  int port = 0;
  std::string folder;
  std::map<std::string, std::vector<PartitionFile>, std::less<>> topics;

  base::Output answer(const protocol::RequestHeader& header, MutableByteView body) {
    const int16_t version = header.request_api_version;
    switch (static_cast<protocol::ApiKey>(header.request_api_key)) {
      case protocol::ApiKey::kProduce: return answer(header, *protocol::decode_body<protocol::ProduceRequest>(body, version));
      case protocol::ApiKey::kMetadata: return answer(header, *protocol::decode_body<protocol::MetadataRequest>(body, version));
      case protocol::ApiKey::kCreateTopics: return answer(header, *protocol::decode_body<protocol::CreateTopicsRequest>(body, version));
      case protocol::ApiKey::kListOffsets: return answer(header, *protocol::decode_body<protocol::ListOffsetsRequest>(body, version));
      default: std::fprintf(stderr, "request %d is not for the floor\n", header.request_api_key); std::exit(1);
    }
  }

  base::Output answer(const protocol::RequestHeader& header, const protocol::ProduceRequest& request) {
    protocol::ProduceResponse response;
    for (const auto& topic : request.topic_data) {
      auto& answered = response.responses.emplace_back();
      answered.name = topic.name;
      auto& files = topics.at(topic.name);
      for (const auto& data : topic.partition_data) {
        PartitionFile& file = files.at(static_cast<size_t>(data.index));
        MutableByteView bytes = data.records.bytes;
        ByteView rest = bytes;
        auto batch = record::next_batch(rest);
        CHECK(batch && batch->crc_matches());
        record::set_base_offset(bytes, Offset{file.next_offset});
        CHECK(::pwrite(file.descriptor, bytes.data(), bytes.size(), file.size) == static_cast<ssize_t>(bytes.size()));
        auto& one = answered.partition_responses.emplace_back();
        one.index = data.index;
        one.base_offset = file.next_offset;
        file.size += static_cast<int64_t>(bytes.size());
        file.next_offset += batch->last_offset_delta() + 1;
      }
    }
    return protocol::encode_response(header.correlation_id, header.request_api_version, response);
  }

  base::Output answer(const protocol::RequestHeader& header, const protocol::MetadataRequest& request) {
    protocol::MetadataResponse response;
    auto& broker = response.brokers.emplace_back();
    broker.host = "127.0.0.1";
    broker.port = port;
    response.controller_id = 0;
    if (request.topics) {
      for (const auto& asked : *request.topics) {
        auto& topic = response.topics.emplace_back();
        topic.name = asked.name;
        auto found = topics.find(asked.name.value_or(""));
        if (found == topics.end()) {
          topic.error_code = 3;  // UNKNOWN_TOPIC_OR_PARTITION
          continue;
        }
        for (size_t p = 0; p < found->second.size(); ++p) topic.partitions.emplace_back().partition_index = static_cast<int32_t>(p);
      }
    }
    return protocol::encode_response(header.correlation_id, header.request_api_version, response);
  }

  base::Output answer(const protocol::RequestHeader& header, const protocol::CreateTopicsRequest& request) {
    protocol::CreateTopicsResponse response;
    for (const auto& topic : request.topics) {
      auto& files = topics[topic.name];
      for (int32_t p = 0; p < topic.num_partitions; ++p) {
        const std::string path = folder + "/" + topic.name + "-" + std::to_string(p) + ".log";
        files.push_back({::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), 0, 0});
        CHECK(files.back().descriptor >= 0);
      }
      response.topics.emplace_back().name = topic.name;
    }
    return protocol::encode_response(header.correlation_id, header.request_api_version, response);
  }

  base::Output answer(const protocol::RequestHeader& header, const protocol::ListOffsetsRequest& request) {
    protocol::ListOffsetsResponse response;
    for (const auto& topic : request.topics) {
      auto& answered = response.topics.emplace_back();
      answered.name = topic.name;
      for (const auto& partition : topic.partitions) {
        auto& one = answered.partitions.emplace_back();
        one.partition_index = partition.partition_index;
        one.offset = partition.timestamp == -2 ? 0 : topics.at(topic.name).at(static_cast<size_t>(partition.partition_index)).next_offset;
      }
    }
    return protocol::encode_response(header.correlation_id, header.request_api_version, response);
  }
};

struct Connection {
  int descriptor;
  Bytes input = Bytes(256 << 10);
  size_t filled = 0;
  Bytes output;

  // False: it has ended.
  bool serve(Floor& floor) {
    const ssize_t got = ::recv(descriptor, input.data() + filled, input.size() - filled, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    filled += static_cast<size_t>(got);
    size_t at = 0;
    while (filled - at >= 4) {
      const auto size = static_cast<size_t>(base::load_be<int32_t>(input.data() + at));
      if (filled - at - 4 < size) {
        if (input.size() < size + 4) input.resize(size + 4);
        break;
      }
      MutableByteView frame(input.data() + at + 4, size);
      size_t used = 0;
      auto header = protocol::decode_request_header(frame, used);
      CHECK(header);
      base::Output body = floor.answer(*header, frame.subspan(used));
      base::append_be<int32_t>(output, static_cast<int32_t>(body.bytes.size()));
      output.insert(output.end(), body.bytes.begin(), body.bytes.end());
      at += 4 + size;
    }
    if (at > 0) {
      std::copy(input.begin() + static_cast<ptrdiff_t>(at), input.begin() + static_cast<ptrdiff_t>(filled), input.begin());
      filled -= at;
    }
    if (output.empty()) return true;
    // Answers are small and each client waits for its own: they always fit.
    const bool sent = ::send(descriptor, output.data(), output.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(output.size());
    output.clear();
    return sent;
  }
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s PORT FOLDER\n", arguments[0]);
    return 2;
  }
  Floor floor;
  floor.port = std::atoi(arguments[1]);
  floor.folder = arguments[2];
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(floor.port));
  CHECK(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && ::listen(listener, 1000) == 0);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event wanted{.events = EPOLLIN, .data = {.ptr = nullptr}};
  CHECK(::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted) == 0);
  epoll_event events[256];
  for (;;) {
    const int ready = ::epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; ++i) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection == nullptr) {
        const int descriptor = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) continue;
        ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{.events = EPOLLIN, .data = {.ptr = new Connection{descriptor}}};
        CHECK(::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0);
      } else if (!connection->serve(floor)) {
        ::close(connection->descriptor);
        delete connection;
      }
    }
  }
}
