#include "net/link.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <future>
#include <numeric>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/manual_runtime.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "model/error_code.h"
#include "net/socket.h"

namespace odradek::net {
namespace {
constexpr std::string_view kTwoAddresses = "two.addresses.test";
}
}  // namespace odradek::net

// In front of the C library's: one name is known here only, with its IPv6 address first.
extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found) {
  static auto* const library = reinterpret_cast<decltype(&::getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  if (host == nullptr || host != odradek::net::kTwoAddresses) return library(host, port, hints, found);
  if (hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0) return EAI_NONAME;
  if (int error = library("::1", port, hints, found); error != 0) return error;
  return library("127.0.0.1", port, hints, &(*found)->ai_next);
}

namespace odradek::net {
namespace {

using std::chrono::milliseconds;

// The other end: one connection, read and written by hand.
class Peer {
 public:
  Peer() : listening_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listening_.get(), 5), 0);
    socklen_t size = sizeof address;
    ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    at = {"127.0.0.1", ntohs(address.sin_port)};
  }
  void accept() { socket_.reset(::accept(listening_.get(), nullptr, nullptr)); }
  Bytes take() {
    uint8_t head[4];
    EXPECT_EQ(::recv(socket_.get(), head, 4, MSG_WAITALL), 4);
    Bytes frame(static_cast<size_t>(base::load_be<int32_t>(head)));
    EXPECT_EQ(::recv(socket_.get(), frame.data(), frame.size(), MSG_WAITALL), static_cast<ssize_t>(frame.size()));
    return frame;
  }
  void give(ByteView frame) {
    Bytes head(4);
    base::store_be<int32_t>(head.data(), static_cast<int32_t>(frame.size()));
    give_raw(head);
    give_raw(frame);
  }
  void give_raw(ByteView bytes) { EXPECT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size())); }
  void close() { socket_.reset(); }
  void stop_listening() { listening_.reset(); }
  Endpoint at;

 private:
  Descriptor listening_, socket_;
};

base::Output frame_of(Bytes bytes) { return {std::move(bytes), {}}; }
base::Output frame_of(std::string_view text) { return frame_of(Bytes(text.begin(), text.end())); }

// Answers in the order in which they came.
class Answers {
 public:
  Link::Done next() {
    return [this](Result<Answer> answer) {
      base::MutexLock lock(mutex_);
      answers_.push_back(std::move(answer));
      changed_.notify_all();
    };
  }
  Result<Answer>& at(size_t index) {
    base::MutexLock lock(mutex_);
    while (answers_.size() <= index) lock.wait(changed_);
    return answers_[index];
  }
  size_t count() {
    base::MutexLock lock(mutex_);
    return answers_.size();
  }

 private:
  base::Mutex mutex_;
  std::condition_variable changed_;
  std::deque<Result<Answer>> answers_ GUARDED_BY(mutex_);
};

class LinkTest : public testing::Test {
 protected:
  std::unique_ptr<Link> open(LinkOptions options = {}) { return links_->open(peer_.at, options, *executor_); }

  Peer peer_;
  Answers answers_;
  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  std::unique_ptr<base::Executor> executor_ = runtime_->make_executor("test", 1);
  std::unique_ptr<Links> links_ = make_tcp_links(*runtime_);
};

TEST_F(LinkTest, SeveralRequestsAreOnTheWayAndAnswersComeInTheirOrder) {
  auto link = open();
  for (const char* text : {"a", "bb", "ccc"}) link->send(frame_of(text), milliseconds(60'000), answers_.next());
  peer_.accept();
  for (const char* text : {"a", "bb", "ccc"}) EXPECT_EQ(as_text(peer_.take()), text);
  EXPECT_EQ(answers_.count(), 0u);
  for (const char* text : {"1", "", "333"}) peer_.give(as_bytes(text));
  for (size_t i = 0; const char* text : {"1", "", "333"}) {
    auto& answer = answers_.at(i++);
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(as_text(answer->bytes()), text);
  }
  EXPECT_FALSE(link->broken());
  EXPECT_EQ(link->received_bytes(), 3 * 4 + 4);
  EXPECT_GT(link->round_trip().count(), 0);
}

ListenerOptions at(std::string_view host, int port) {
  ListenerOptions listener;
  listener.host = host;
  listener.port = port;
  return listener;
}

TEST(Listening, IsOnTheIPv4AddressOfANameThatHasBoth) {
  auto first = listen_on(at(kTwoAddresses, 0), {});
  ASSERT_TRUE(first) << first.error().what;
  Descriptor socket(*first);
  EXPECT_EQ(local_address(*first).host, "127.0.0.1");
  auto second = listen_on(at(kTwoAddresses, local_address(*first).port), {});
  ASSERT_FALSE(second) << "on the other address";
  EXPECT_EQ(second.error().os_error, EADDRINUSE);
}

TEST_F(LinkTest, GoesToTheIPv4AddressOfANameThatHasBoth) {
  auto v4 = listen_on(at("127.0.0.1", 0), {});
  ASSERT_TRUE(v4);
  Descriptor four(*v4);
  const int port = local_address(*v4).port;
  auto v6 = listen_on(at("::1", port), {});
  if (!v6) return;  // this machine has no IPv6
  Descriptor six(*v6);
  auto link = links_->open({std::string(kTwoAddresses), port}, {}, *executor_);
  pollfd waited[] = {{four.get(), POLLIN, 0}, {six.get(), POLLIN, 0}};
  ASSERT_GT(::poll(waited, 2, 20'000), 0);
  EXPECT_EQ(waited[0].revents, POLLIN);
  EXPECT_EQ(waited[1].revents, 0);
}

TEST_F(LinkTest, LargeFramesGoBothWaysInManyPieces) {
  Bytes large(9'000'001);
  std::iota(large.begin(), large.end(), uint8_t{0});
  auto link = open();
  // The peer reads late: the first write fills the socket.
  link->send(frame_of(large), milliseconds(60'000), answers_.next());
  link->send(frame_of("small"), milliseconds(60'000), answers_.next());
  peer_.accept();
  EXPECT_EQ(peer_.take(), large);
  EXPECT_EQ(as_text(peer_.take()), "small");
  std::thread giving = base::start_thread("peer", [&] {
    peer_.give(large);
    peer_.give(as_bytes("x"));
  });
  ASSERT_TRUE(answers_.at(1)) << answers_.at(1).error().what;
  giving.join();
  EXPECT_EQ(answers_.at(0)->bytes().size(), large.size());
  EXPECT_TRUE(std::equal(large.begin(), large.end(), answers_.at(0)->bytes().begin()));
  EXPECT_EQ(as_text(answers_.at(1)->bytes()), "x");
}

TEST_F(LinkTest, AnAnswerCutAnywhereIsPutTogether) {
  auto link = open();
  for (int i = 0; i < 2; ++i) link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  peer_.accept();
  for (uint8_t byte : Bytes{0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'z'}) {
    int64_t before = link->received_bytes();
    peer_.give_raw({&byte, 1});
    while (link->received_bytes() == before) std::this_thread::yield();  // one byte a read
  }
  EXPECT_EQ(as_text(answers_.at(0)->bytes()), "abc");
  EXPECT_EQ(as_text(answers_.at(1)->bytes()), "z");
}

TEST_F(LinkTest, AConnectionThatEndsFailsEverythingThatWaitsAndWhatComesAfter) {
  auto link = open();
  for (int i = 0; i < 2; ++i) link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  peer_.accept();
  peer_.take();
  peer_.close();
  EXPECT_EQ(answers_.at(1).error().code, ErrorCode::kNetworkException);
  EXPECT_TRUE(link->broken());
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  EXPECT_EQ(answers_.at(2).error().code, ErrorCode::kNetworkException);
}

TEST_F(LinkTest, AClosedPortIsAnError) {
  peer_.stop_listening();
  auto link = open();
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  EXPECT_EQ(answers_.at(0).error().code, ErrorCode::kNetworkException);
  EXPECT_EQ(answers_.at(0).error().os_error, ECONNREFUSED);
}

TEST_F(LinkTest, ANameIsLookedUpAndEachOfItsAddressesIsTried) {
  peer_.at.host = "localhost";  // ::1 as a rule first, where nobody listens
  auto link = open();
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  peer_.accept();
  peer_.take();
  peer_.give(as_bytes("yes"));
  ASSERT_TRUE(answers_.at(0)) << answers_.at(0).error().what;
  auto nowhere = links_->open({"no-such-name.invalid", 9092}, {}, *executor_);
  nowhere->send(frame_of("q"), milliseconds(60'000), answers_.next());
  EXPECT_EQ(answers_.at(1).error().code, ErrorCode::kNetworkException);
}

TEST_F(LinkTest, AnAnswerLargerThanAllowedBreaksIt) {
  LinkOptions options;
  options.max_answer_bytes = 10;
  auto link = open(options);
  for (int i = 0; i < 2; ++i) link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  peer_.accept();
  peer_.give(as_bytes("0123456789"));
  ASSERT_TRUE(answers_.at(0));
  peer_.give_raw(Bytes{0, 0, 0, 11});
  EXPECT_EQ(answers_.at(1).error().code, ErrorCode::kCorruptMessage);
}

TEST_F(LinkTest, AnAnswerThatNobodyWaitsForBreaksIt) {
  auto link = open();
  peer_.accept();
  peer_.give(as_bytes("?"));
  while (!link->broken()) std::this_thread::yield();
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  EXPECT_EQ(answers_.at(0).error().code, ErrorCode::kCorruptMessage);
}

TEST_F(LinkTest, TheEndOfALinkAnswersWhatWaits) {
  auto link = open();
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  link.reset();
  EXPECT_EQ(answers_.at(0).error().code, ErrorCode::kNetworkException);
}

TEST_F(LinkTest, WhoeverSendsFromManyThreadsGetsItsOwnAnswer) {
  auto link = open();
  constexpr int kThreads = 4, kEach = 500;
  std::atomic<int> right{0}, done{0};
  peer_.accept();
  std::thread echo = base::start_thread("peer", [&] {
    for (int i = 0; i < kThreads * kEach; ++i) peer_.give(peer_.take());
  });
  std::vector<std::thread> senders;
  for (int t = 0; t < kThreads; ++t) {
    senders.push_back(base::start_thread("sender", [&, t] {
      for (int i = 0; i < kEach; ++i) {
        std::string text = std::to_string(t) + "/" + std::to_string(i);
        link->send(frame_of(text), milliseconds(60'000), [&, text](Result<Answer> answer) {
          if (answer && as_text(answer->bytes()) == text) ++right;
          ++done;
        });
      }
    }));
  }
  for (auto& sender : senders) sender.join();
  echo.join();
  while (done != kThreads * kEach) std::this_thread::yield();
  EXPECT_EQ(right, kThreads * kEach);
}

// Time stands still but for advance().
class LinkTimeTest : public testing::Test {
 protected:
  bool all_answered(size_t count) {
    while (answers_.count() < count) {
      runtime_.run_until_idle();
      std::this_thread::yield();
    }
    return true;
  }
  Peer peer_;
  Answers answers_;
  base::ManualRuntime runtime_;
  std::unique_ptr<base::Executor> executor_ = runtime_.make_executor("test", 1);
  std::unique_ptr<Links> links_ = make_tcp_links(runtime_);
};

TEST_F(LinkTimeTest, ARequestThatIsNotAnsweredInTimeBreaksTheLink) {
  auto link = links_->open(peer_.at, {}, *executor_);
  link->send(frame_of("slow"), milliseconds(10'000), answers_.next());
  link->send(frame_of("soon"), milliseconds(1'000), answers_.next());
  peer_.accept();
  peer_.take();
  runtime_.advance(999);
  EXPECT_EQ(answers_.count(), 0u);
  EXPECT_FALSE(link->broken());
  runtime_.advance(1);
  ASSERT_TRUE(all_answered(2));
  for (size_t i : {0, 1}) EXPECT_EQ(answers_.at(i).error().code, ErrorCode::kRequestTimedOut);
  EXPECT_TRUE(link->broken());
}

TEST_F(LinkTimeTest, AnsweredRequestsLeaveNoTimeOutBehind) {
  auto link = links_->open(peer_.at, {}, *executor_);
  link->send(frame_of("q"), milliseconds(1'000), answers_.next());
  peer_.accept();
  peer_.take();
  peer_.give(as_bytes("a"));
  ASSERT_TRUE(all_answered(1));
  runtime_.advance(100'000);
  EXPECT_FALSE(link->broken());
  EXPECT_EQ(runtime_.pending_timers(), 0u);
  link->send(frame_of("q"), milliseconds(1'000), answers_.next());
  runtime_.advance(1'000);
  ASSERT_TRUE(all_answered(2));
  EXPECT_EQ(answers_.at(1).error().code, ErrorCode::kRequestTimedOut);
}

TEST_F(LinkTimeTest, AConnectionThatIsNotMadeInTimeIsGivenUp) {
  LinkOptions options;
  options.connect_timeout = milliseconds(500);
  // 240.0.0.0/4 is reserved: the system refuses it at once or drops what is sent there; either way there is no connection.
  auto link = links_->open({"240.0.0.1", 9}, options, *executor_);
  link->send(frame_of("q"), milliseconds(60'000), answers_.next());
  runtime_.advance(500);
  ASSERT_TRUE(all_answered(1));
  EXPECT_FALSE(answers_.at(0));
  EXPECT_TRUE(link->broken());
}

}  // namespace
}  // namespace odradek::net
