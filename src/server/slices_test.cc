// Slices of files in answers.
#include "server/server.h"

#include <gtest/gtest.h>

#include <thread>

#include "server/slices_test_util.h"

namespace odradek::server {
namespace {

Bytes expected_slice(const Bytes& content, int64_t position, int64_t size) {
  Bytes expected{1};
  expected.insert(expected.end(), content.begin() + position, content.begin() + position + size);
  expected.push_back(2);
  return expected;
}

TEST(Slices, AreSentBetweenTheBytesAroundThem) {
  EchoServer server;
  EchoClient client = server.client();
  Bytes content = pattern(5000000);
  auto file = file_with(content);
  int32_t id = 0;
  for (auto [position, size] : {std::pair<int64_t, int64_t>{0, 1}, {100, 8192}, {1, 8193}, {0, 0}, {4096, 262144}, {17, 1000000}, {0, 5000000}}) {
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(++id, Op::kSlice));
    auto answer = client.receive();
    ASSERT_TRUE(answer) << size;
    EXPECT_TRUE(answer->payload == expected_slice(content, position, size)) << size;
  }
}

TEST(Slices, GoWholeToASlowReaderAmongOtherAnswers) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_with(content);
  server.sink.set_slice({file, 5, 600000, file->generation()});
  for (int32_t i = 0; i < 30; ++i) ASSERT_TRUE(client.send(i, i % 3 == 0 ? Op::kSlice : Op::kEcho, 0, pattern(30)));
  for (int32_t i = 0; i < 30; ++i) {
    if (i % 5 == 0) std::this_thread::sleep_for(10ms);
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->correlation_id, i);
    EXPECT_TRUE(answer->payload == (i % 3 == 0 ? expected_slice(content, 5, 600000) : pattern(30)));
  }
}

TEST(Slices, OfAFileWithoutDescriptorAreReadAndSent) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_over(content, true, false);
  server.sink.set_slice({file, 3, 650000, file->generation()});
  ASSERT_TRUE(client.send(1, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 3, 650000));
}

TEST(Slices, ColdOnesAreLoadedByAnotherThreadFirst) {
  auto runtime = base::make_system_runtime();
  ThreadLoader loader(*runtime);
  EchoServer server(EchoServer::quick_options(), &loader);
  EchoClient client = server.client();
  Bytes content = pattern(3000000);
  for (int64_t size : {100, 3000, 200000, 2500000}) {
    auto cold = file_over(content, false, true);
    int before = loader.loads.load();
    loader.bytes = 0;
    server.sink.set_slice({cold, 3, size, cold->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    ASSERT_TRUE(client.send(2, Op::kEcho));
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->payload == expected_slice(content, 3, size));
    EXPECT_EQ(client.receive()->correlation_id, 2);
    EXPECT_GT(loader.loads.load(), before);
    EXPECT_EQ(loader.bytes.load(), size);
  }
  int before = loader.loads.load();
  auto warm = file_with(content);
  server.sink.set_slice({warm, 0, 2000000, warm->generation()});
  ASSERT_TRUE(client.send(3, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 0, 2000000));
  EXPECT_EQ(loader.loads.load(), before);
  // The client goes while a load is under way.
  auto cold = file_over(content, false, true);
  server.sink.set_slice({cold, 0, 3000000, cold->generation()});
  ASSERT_TRUE(client.send(4, Op::kSlice));
  client.close();
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
}

TEST(Slices, OfAnotherGenerationOrBehindTheEndOfTheFileCloseTheConnection) {
  EchoServer server;
  Bytes content = pattern(100000);
  auto file = file_with(content);
  for (int64_t size : {5000, 50000}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, 0, size, file->generation()});
    file->invalidate();
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  for (auto [position, size] : {std::pair<int64_t, int64_t>{99000, 2000}, {50000, 60000}}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  expect_quick_answer(server);
}

TEST(Slices, AnAnswerOfMoreBytesThanAFrameHasClosesTheConnection) {
  EchoServer server;
  EchoClient client = server.client();
  auto file = file_with(pattern(100000));
  server.sink.set_slice({file, 0, int64_t{INT32_MAX} - 5, file->generation()});  // 4 and 2 bytes around it
  Bytes payload = pattern(10);
  ASSERT_TRUE(client.send(1, Op::kEcho, 0, payload));
  ASSERT_TRUE(client.send(2, Op::kSlice));
  auto before = client.receive();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->payload, payload);
  uint8_t byte;
  EXPECT_FALSE(client.read_all(&byte, 1)) << "a size that is none";
  expect_quick_answer(server);
}

}  // namespace
}  // namespace odradek::server
