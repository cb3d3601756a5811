#include "metadata/image/image.h"

#include <gtest/gtest.h>

#include <future>

#include "base/executor.h"
#include "base/random.h"
#include "metadata/image/image_waits.h"
#include "protocol/messages/update_metadata.h"

namespace odradek::metadata {
namespace {

using Update = protocol::UpdateMetadataRequest;

Uuid id_of(uint8_t n) {
  Uuid id;
  id.bytes[0] = n;
  return id;
}

Update brokers(std::vector<int32_t> ids) {
  Update update;
  update.controller_id = 0;
  for (int32_t id : ids) {
    Update::UpdateMetadataBroker broker;
    broker.id = id;
    broker.endpoints.push_back({.port = 9092 + id, .host = "127.0.0.1", .listener = "PLAINTEXT", .security_protocol = 0});
    update.live_brokers.push_back(broker);
  }
  return update;
}

Update with_topic(Update update, std::string name, Uuid id, std::vector<int32_t> leaders) {
  Update::UpdateMetadataTopicState topic;
  topic.topic_name = std::move(name);
  topic.topic_id = id;
  for (size_t i = 0; i < leaders.size(); ++i) {
    Update::UpdateMetadataPartitionState state;
    state.partition_index = static_cast<int32_t>(i);
    state.leader = leaders[i];
    state.isr = state.replicas = {0, 1};
    topic.partition_states.push_back(state);
  }
  update.topic_states.push_back(topic);
  return update;
}

TEST(Image, ShowsWhatTheControllerSaid) {
  ImageHolder holder;
  EXPECT_EQ(holder.current()->controller(), kNoBroker);
  holder.apply(with_topic(brokers({1, 0}), "a", id_of(1), {0, 1}));
  auto image = holder.current();
  EXPECT_EQ(image->controller(), BrokerId{0});
  ASSERT_EQ(image->brokers().size(), 2u);
  EXPECT_EQ(image->brokers()[0].id, BrokerId{0});
  EXPECT_EQ(image->find_broker({1})->endpoint("PLAINTEXT")->port, 9093);
  EXPECT_EQ(image->find_broker({1})->endpoint("SSL"), nullptr);
  EXPECT_TRUE(image->is_alive({1}));
  EXPECT_FALSE(image->is_alive({2}));
  ASSERT_NE(image->find_topic("a"), nullptr);
  EXPECT_EQ(image->find_topic(id_of(1)), image->find_topic("a"));
  EXPECT_EQ(image->find_partition("a", 1)->leader, BrokerId{1});
  EXPECT_EQ(image->find_partition("a", 2), nullptr);
  EXPECT_EQ(image->find_partition("a", -1), nullptr);
  EXPECT_EQ(image->find_topic("b"), nullptr);
  EXPECT_EQ(image->topic_count(), 1u);
  EXPECT_EQ(image->partition_count(), 2u);
}

TEST(Image, KeepsWhatAnUpdateDoesNotName) {
  ImageHolder holder;
  holder.apply(with_topic(brokers({0, 1}), "a", id_of(1), {0, 1}));
  auto before = holder.current();
  holder.apply(with_topic(brokers({0}), "b", id_of(2), {0}));
  auto now = holder.current();
  EXPECT_EQ(now->find_topic("a"), before->find_topic("a")) << "an unchanged topic is shared";
  EXPECT_EQ(before->find_topic("b"), nullptr) << "an image does not change";
  EXPECT_FALSE(now->is_alive({1})) << "the list of brokers is always whole";
}

TEST(Image, ForgetsTopicsThatAreBeingDeleted) {
  ImageHolder holder;
  ImageChange seen;
  holder.subscribe([&](const ImageChange& change) { seen = change; });
  holder.apply(with_topic(brokers({0}), "a", id_of(1), {0, 0}));
  EXPECT_EQ(seen.changed_topics, std::vector<std::string>{"a"});
  holder.apply(with_topic(brokers({0}), "a", id_of(1), {-2, -2}));
  EXPECT_EQ(holder.current()->find_topic("a"), nullptr);
  EXPECT_EQ(holder.current()->find_topic(id_of(1)), nullptr);
  EXPECT_EQ(holder.current()->topic_count(), 0u);
  EXPECT_EQ(holder.current()->partition_count(), 0u);
  EXPECT_EQ(seen.deleted_partitions, (std::vector<TopicPartition>{{"a", 0}, {"a", 1}}));
}

TEST(Image, DropsTheFormerTopicWhenANameReturnsWithAnotherId) {
  ImageHolder holder;
  holder.apply(with_topic(brokers({0}), "a", id_of(1), {0, 0, 0}));
  holder.apply(with_topic(brokers({0}), "a", id_of(2), {0}));
  auto image = holder.current();
  EXPECT_EQ(image->find_topic(id_of(1)), nullptr);
  EXPECT_EQ(image->find_topic("a")->partitions.size(), 1u);
  EXPECT_EQ(image->partition_count(), 1u);
}

TEST(Image, ReadsTheFormsOfOldVersions) {
  Update update;
  Update::UpdateMetadataBroker v0;
  v0.id = 3;
  v0.v0_host = "h";
  v0.v0_port = 9;
  update.live_brokers.push_back(v0);
  Update::UpdateMetadataBroker v1;
  v1.id = 4;
  v1.endpoints.push_back({.port = 10, .host = "h", .security_protocol = 1});
  update.live_brokers.push_back(v1);
  Update::UpdateMetadataPartitionState state;
  state.topic_name = "old";
  state.leader = 3;
  update.ungrouped_partition_states.push_back(state);
  ImageHolder holder;
  holder.apply(update);
  auto image = holder.current();
  EXPECT_EQ(image->find_broker({3})->endpoint("PLAINTEXT")->port, 9);
  EXPECT_EQ(image->find_broker({4})->endpoint("SSL")->port, 10);
  EXPECT_EQ(image->find_partition("old", 0)->leader, BrokerId{3});
}

TEST(Image, SurvivesThousandsOfTopics) {
  ImageHolder holder;
  Update all = brokers({0});
  for (int i = 0; i < 5000; ++i) {
    Uuid id;
    base::store_be<int32_t>(id.bytes.data(), i + 1);
    all = with_topic(std::move(all), "t" + std::to_string(i), id, {0});
  }
  holder.apply(all);
  EXPECT_EQ(holder.current()->topic_count(), 5000u);
  EXPECT_EQ(holder.current()->topics().size(), 5000u);
  EXPECT_NE(holder.current()->find_topic("t4711"), nullptr);
}

TEST(ImageWaits, AnswersWhenTheImageShowsIt) {
  auto runtime = base::make_system_runtime();
  ImageHolder holder;
  ImageWaits waits(*runtime, holder);
  bool result = false;
  auto shows_a = [](const ClusterImage& image) { return image.find_topic("a") != nullptr; };
  waits.wait(shows_a, 60'000, [&](bool holds) { result = holds; });
  EXPECT_EQ(waits.waiting(), 1u);
  holder.apply(brokers({0}));
  EXPECT_FALSE(result);
  holder.apply(with_topic(brokers({0}), "a", id_of(1), {0}));
  EXPECT_TRUE(result);
  EXPECT_EQ(waits.waiting(), 0u);
  bool at_once = false;
  waits.wait(shows_a, 60'000, [&](bool holds) { at_once = holds; });
  EXPECT_TRUE(at_once);
}

TEST(ImageWaits, GivesUpAfterTheTime) {
  auto runtime = base::make_system_runtime();
  ImageHolder holder;
  ImageWaits waits(*runtime, holder);
  std::promise<bool> result;
  waits.wait([](const ClusterImage&) { return false; }, 5, [&](bool holds) { result.set_value(holds); });
  EXPECT_FALSE(result.get_future().get());
  bool called = false;
  waits.wait([](const ClusterImage&) { return false; }, 0, [&](bool holds) { called = !holds; });
  EXPECT_TRUE(called);
}

}  // namespace
}  // namespace odradek::metadata
