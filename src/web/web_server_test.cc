#include "web/web_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace odradek::web {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

int connect_to(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

std::string get(int port, const std::string& path) {
  int fd = connect_to(port);
  if (fd < 0) return "";
  std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<size_t>(n));
  close(fd);
  return answer;
}

class WebServerTest : public testing::Test {
 protected:
  std::unique_ptr<WebServer> start(WebOptions options) {
    auto server = WebServer::start(*runtime_, options, registry_, [this] { return reasons_; });
    EXPECT_TRUE(server) << server.error().what;
    return std::move(*server);
  }
  std::unique_ptr<WebServer> start() { return start({.port = 0}); }

  std::unique_ptr<base::Runtime> runtime_ = base::make_system_runtime();
  metrics::Registry registry_{runtime_->clock()};
  std::vector<std::string> reasons_;
};

TEST_F(WebServerTest, AnswersMetrics) {
  registry_.counter(metrics::kBytesIn)->inc(5);
  auto server = start();
  std::string answer = get(server->port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("kafka_server_brokertopicmetrics_bytesin_total 5\n"));
}

TEST_F(WebServerTest, SaysWhetherItIsReadyAndWhyNot) {
  auto server = start();
  EXPECT_THAT(get(server->port(), "/health/live"), StartsWith("HTTP/1.1 200"));
  std::string answer = get(server->port(), "/health/ready");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("{\"ready\":true,\"reasons\":[]}"));
  reasons_ = {"3 logs are still recovering"};
  answer = get(server->port(), "/health/ready");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("{\"ready\":false,\"reasons\":[\"3 logs are still recovering\"]}"));
}

TEST_F(WebServerTest, AnswersNotFoundElsewhere) {
  auto server = start();
  EXPECT_THAT(get(server->port(), "/nothing"), StartsWith("HTTP/1.1 404"));
}

TEST_F(WebServerTest, GoesOnWithoutListeningWhenTheDefaultPortIsTaken) {
  auto first = start();
  auto second = start({.port = first->port()});
  EXPECT_EQ(second->port(), 0);
}

TEST_F(WebServerTest, FailsWhenTheConfiguredPortIsTaken) {
  auto first = start();
  auto second = WebServer::start(*runtime_, {.port = first->port(), .configured = true}, registry_, [] { return std::vector<std::string>(); });
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr("cannot listen there"));
}

TEST_F(WebServerTest, ServesManyMoreConnectionsThanItHasThreads) {
  auto server = start({.port = 0, .threads = 2, .waiting_connections = 2});
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 20; ++i) clients.emplace_back([&] { good += get(server->port(), "/health/live").starts_with("HTTP/1.1 200"); });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 20);
}

TEST_F(WebServerTest, StopsEvenBeforeItBeganToAccept) {
  for (int i = 0; i < 20; ++i) start();
}

TEST_F(WebServerTest, OutlivesClientsThatSayNothing) {
  auto server = start();
  for (int i = 0; i < 5; ++i) close(connect_to(server->port()));
  EXPECT_THAT(get(server->port(), "/health/live"), StartsWith("HTTP/1.1 200"));
}

TEST(WebOptionsTest, ComeFromTheListenerKey) {
  auto options_of = [](config::Properties values) { return web_options(**config::BrokerConfig::make(std::move(values))); };
  auto standard = options_of({});
  ASSERT_TRUE(standard && *standard);
  EXPECT_EQ((*standard)->host, "127.0.0.1");
  EXPECT_EQ((*standard)->port, 9644);
  EXPECT_FALSE((*standard)->configured);
  auto own = options_of({{"metrics.listener", "[::1]:80"}});
  ASSERT_TRUE(own && *own);
  EXPECT_EQ((*own)->host, "::1");
  EXPECT_EQ((*own)->port, 80);
  EXPECT_TRUE((*own)->configured);
  EXPECT_EQ((*options_of({{"metrics.listener", ":1"}}))->host, "0.0.0.0");
  EXPECT_FALSE(options_of({{"metrics.listener", ""}})->has_value());
  EXPECT_FALSE(options_of({{"metrics.listener", "localhost"}}));
  EXPECT_FALSE(options_of({{"metrics.listener", "localhost:99999"}}));
}

}  // namespace
}  // namespace odradek::web
