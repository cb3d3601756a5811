#include "protocol/codec.h"

#include <gtest/gtest.h>

#include "base/varint.h"
#include "protocol/header.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/consumer_group_member_metadata_value.h"
#include "protocol/messages/controlled_shutdown.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/group_metadata_key.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/metadata.h"
#include "protocol/messages/offset_commit_key.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/produce.h"

namespace odradek::protocol {
namespace {

TEST(Codec, MetadataRequestOfVersionZeroWritesNullTopicsAsEmpty) {
  MetadataRequest request;
  request.topics.reset();
  EXPECT_EQ(encode_body(request, 0), (Bytes{0, 0, 0, 0}));
  EXPECT_EQ(encode_body(request, 1), (Bytes{0xff, 0xff, 0xff, 0xff}));
}

TEST(Codec, NullWhereTheVersionForbidsItIsAnErrorThatNamesTheField) {
  Bytes null_topics{0xff, 0xff, 0xff, 0xff};
  auto request = decode_body<MetadataRequest>(null_topics, 0);
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().code, ErrorCode::kInvalidRequest);
  EXPECT_EQ(request.error().what, "MetadataRequest.topics is null");
  auto newer = decode_body<MetadataRequest>(null_topics, 1);
  ASSERT_TRUE(newer);
  EXPECT_FALSE(newer->topics);
}

TEST(Codec, CountThatTheMessageHasNoRoomForIsRefusedBeforeMemoryIsTaken) {
  Bytes many{0x7f, 0xff, 0xff, 0xff, 0, 1, 'a'};
  auto request = decode_body<MetadataRequest>(many, 0);
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().code, ErrorCode::kInvalidRequest);
}

// Groups without a name that want all their offsets, each with `tags` unknown tags without content.
Result<OffsetFetchRequest> fetch_of_groups(uint32_t count, uint8_t tags) {
  Bytes body(5);
  body.resize(base::encode_uvarint(body.data(), count + 1));
  for (uint32_t i = 0; i < count; ++i) {
    body.insert(body.end(), {1, 0, tags});
    for (uint8_t tag = 0; tag < tags; ++tag) body.insert(body.end(), {tag, 0});
  }
  body.insert(body.end(), {0, 0});
  return decode_body<OffsetFetchRequest>(body, 8);
}

TEST(Codec, ManySmallElementsTakeNoMoreMemoryThanTheirMessageMay) {
  auto some = fetch_of_groups(100'000, 0);
  ASSERT_TRUE(some) << some.error().what;
  EXPECT_EQ(some->groups.size(), 100'000u);
  auto many = fetch_of_groups(2'000'000, 0);
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().what, "OffsetFetchRequest.groups takes more memory than a message of its size may");
}

TEST(Codec, ManyUnknownTagsTakeNoMoreMemoryThanTheirMessageMay) {
  EXPECT_TRUE(fetch_of_groups(1'000, 120));
  auto many = fetch_of_groups(40'000, 120);
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().what, "OffsetFetchRequest.tags takes more memory than a message of its size may");
}

TEST(Codec, FieldsThatTheVersionLacksAreLeftOut) {
  FetchRequest request;
  request.rack_id = "r1";
  request.cluster_id = "c";
  request.topics.emplace_back().topic = "t";
  auto bytes = encode_body(request, 4);
  auto again = decode_body<FetchRequest>(bytes, 4);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->rack_id, "");
  EXPECT_FALSE(again->cluster_id);
  EXPECT_EQ(again->topics.at(0).topic, "t");
  EXPECT_EQ(again->session_epoch, -1);
}

TEST(Codec, UnknownTagsAreKeptAndWrittenInOrderAmongKnownOnes) {
  FetchResponse::PartitionData partition;
  partition.current_leader = {.leader_id = 7, .leader_epoch = 3};      // tag 1
  partition.snapshot_id = {.end_offset = 5, .epoch = 1};               // tag 2
  partition.unknown_tags = {{.tag = 9, .payload = Bytes(200, 0xab)}};  // longer than one size byte
  FetchResponse response;
  response.responses.emplace_back().partitions.push_back(partition);
  response.unknown_tags = {{.tag = 77, .payload = {1}}};
  auto bytes = encode_body(response, 12);
  auto again = decode_body<FetchResponse>(bytes, 12);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(*again, response);
}

TEST(Codec, PayloadOfATagMayNeedASizeOfSeveralBytes) {
  ProduceResponse response;
  for (int i = 0; i < 100; ++i) response.node_endpoints.push_back({.node_id = i, .host = std::string(300, 'h'), .port = 9092, .rack = "r"});
  auto bytes = encode_body(response, 10);
  auto again = decode_body<ProduceResponse>(bytes, 10);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(*again, response);
}

TEST(Codec, KnownTagInAVersionWithoutItIsKeptAsUnknown) {
  FetchRequest request;
  request.topics.emplace_back().partitions.emplace_back().unknown_tags = {{.tag = 0, .payload = Bytes(16, 1)}};  // a directory id from v17 on
  auto bytes = encode_body(request, 13);
  auto again = decode_body<FetchRequest>(bytes, 13);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->topics[0].partitions[0].unknown_tags.size(), 1u);
  EXPECT_TRUE(again->topics[0].partitions[0].replica_directory_id.is_zero());
  auto newer = decode_body<FetchRequest>(bytes, 17);
  EXPECT_FALSE(newer);  // the body has a replica id that v17 lacks
}

TEST(Codec, BytesBehindTheMessageAreIgnored) {
  // librdkafka: a place for the count of four bytes, of which null takes one; then the flags and no tags; what is left follows.
  Bytes body{0, 1, 0, 0, 0, 0, 0};
  auto request = decode_body<MetadataRequest>(body, 12);
  ASSERT_TRUE(request);
  EXPECT_FALSE(request->topics);
  EXPECT_TRUE(request->allow_auto_topic_creation);
}

TEST(Codec, TagsThatDoNotRiseAreRefused) {
  // ApiVersionsResponse v3: error, no keys, throttle time, two tags 9.
  Bytes body{0, 0, 1, 0, 0, 0, 0, 2, 9, 0, 9, 0};
  EXPECT_FALSE(decode_body<ApiVersionsResponse>(body, 3));
  body[10] = 10;
  EXPECT_TRUE(decode_body<ApiVersionsResponse>(body, 3));
}

TEST(Codec, TagThatHoldsMoreThanItsFieldIsRefused) {
  // Tag 1: finalized features epoch, int64, with one byte too many.
  Bytes body{0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0};
  EXPECT_FALSE(decode_body<ApiVersionsResponse>(body, 3));
}

TEST(Codec, NullStructWithAnEmptyDefaultIsWrittenAsATag) {
  ConsumerGroupMemberMetadataValue value;
  EXPECT_EQ(encode_body(value, 0).back(), 0);  // the default, an empty struct, is left out: no tags
  value.classic_member_metadata.reset();
  Bytes bytes = encode_body(value, 0);
  EXPECT_EQ(Bytes(bytes.end() - 4, bytes.end()), (Bytes{1, 0, 1, 0}));  // one tag: number 0, size 1, null
  auto again = decode_body<ConsumerGroupMemberMetadataValue>(bytes, 0);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->classic_member_metadata);
}

TEST(Codec, DecodedRecordsPointIntoTheFrame) {
  ProduceRequest request;
  Bytes batch{1, 2, 3, 4, 5};
  request.topic_data.emplace_back().partition_data.emplace_back().records.bytes = batch;
  Bytes body = encode_body(request, 9);
  auto again = decode_body<ProduceRequest>(body, 9);
  ASSERT_TRUE(again);
  const Records& records = again->topic_data[0].partition_data[0].records;
  EXPECT_EQ(Bytes(records.bytes.begin(), records.bytes.end()), batch);
  EXPECT_GE(records.bytes.data(), body.data());
  EXPECT_LE(records.bytes.data() + 5, body.data() + body.size());
}

TEST(Codec, FileSlicesAreSetInBehindTheirLength) {
  FetchResponse response;
  auto& partition = response.responses.emplace_back().partitions.emplace_back();
  partition.records.slices = {{.position = 10, .size = 1000}, {.position = 2000, .size = 24}};
  auto& second = response.responses[0].partitions.emplace_back();
  second.partition_index = 1;
  base::Output output = encode_response(3, 4, response);
  EXPECT_EQ(output.size(), output.bytes.size() + 1024);
  ASSERT_EQ(output.inserts.size(), 2u);
  EXPECT_EQ(output.inserts[0].at, output.inserts[1].at);
  EXPECT_EQ(base::load_be<int32_t>(output.bytes.data() + output.inserts[0].at - 4), 1024);
  // With the slices' bytes set in, the frame decodes.
  Bytes frame = output.bytes;
  frame.insert(frame.begin() + static_cast<ptrdiff_t>(output.inserts[0].at), 1024, 0x55);
  auto again = decode_body<FetchResponse>(MutableByteView(frame).subspan(4), 4);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->responses[0].partitions[0].records.bytes.size(), 1024u);
  EXPECT_EQ(again->responses[0].partitions[1].partition_index, 1);
}

TEST(Codec, NullRecordsStayNull) {
  FetchResponse response;
  response.responses.emplace_back().partitions.emplace_back().records.null = true;
  for (int16_t version : {4, 12}) {
    Bytes body = encode_body(response, version);
    auto again = decode_body<FetchResponse>(body, version);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->responses[0].partitions[0].records.null);
  }
}

TEST(Codec, AStringIsCutAtItsLongestLengthInBothForms) {
  for (int16_t version : {0, 6}) {
    auto written = [&](std::string text) {
      JoinGroupResponse response;
      response.member_id = std::move(text);
      Bytes body = encode_body(response, version);
      auto again = decode_body<JoinGroupResponse>(body, version);
      EXPECT_TRUE(again) << again.error().what;
      return again ? again->member_id : std::string();
    };
    EXPECT_EQ(written(std::string(40'000, 'm')), std::string(32'767, 'm')) << version;
    EXPECT_EQ(written(std::string(32'767, 'm')), std::string(32'767, 'm')) << version;
    // Not inside a character.
    std::string text(32'765, 'm');
    EXPECT_EQ(written(text + "\u20ac" + "mm"), text) << version;
    EXPECT_EQ(written(std::string(40'000, '\x80')).size(), 32'767u) << version;
  }
}

// As Kafka's generated classes, whose lengths of compact strings could be greater.
TEST(Codec, ACompactStringThatIsLongerThanAnOldOneIsRefused) {
  auto body_of = [](uint32_t size) {
    Bytes body(5);
    body.resize(base::encode_uvarint(body.data(), size + 1));
    body.resize(body.size() + size, 'g');
    const Bytes rest{1, 1, 1, 0};  // generation, in part: what is behind the string does not matter
    body.insert(body.end(), rest.begin(), rest.end());
    return body;
  };
  auto error = [&](uint32_t size) {
    Bytes body = body_of(size);
    Reader reader(body);
    std::string text;
    std::optional<std::string> nullable;
    reader.string(text, true, "group_id");
    Reader again(body);
    again.string(nullable, true, true, "group_id");
    EXPECT_EQ(reader.failed(), again.failed());
    EXPECT_EQ(reader.failed() ? 0 : size, text.size());
    auto result = reader.result("Some");
    return result ? std::string() : result.error().what;
  };
  EXPECT_EQ(error(32'767), "");
  EXPECT_EQ(error(32'768), "Some.group_id is longer than a string may be");
}

TEST(Codec, VersionedRecordsCarryTheirVersionInFront) {
  OffsetCommitKey key;
  key.group = "g";
  key.topic = "t";
  key.partition = 5;
  Bytes bytes = encode_versioned(key, 1);
  EXPECT_EQ(bytes, (Bytes{0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 5}));
  int16_t version = -1;
  auto again = decode_versioned<OffsetCommitKey>(bytes, &version);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, key);
  EXPECT_EQ(version, 1);
  EXPECT_FALSE(decode_versioned<GroupMetadataKey>(bytes));  // 1 is none of its versions
  EXPECT_FALSE(decode_versioned<GroupMetadataKey>(ByteView(bytes).first(1)));
}

TEST(Header, RequestHeaderGrowsWithTheVersion) {
  RequestHeader header{.request_api_version = 3, .correlation_id = 77, .client_id = "me"};
  MetadataRequest request;
  for (int16_t version : {3, 9}) {
    header.request_api_version = version;
    Bytes frame = encode_request(header, request).bytes;
    size_t used = 0;
    auto again = decode_request_header(frame, used);
    ASSERT_TRUE(again);
    EXPECT_EQ(used, version == 9 ? 13u : 12u);
    EXPECT_EQ(again->request_api_key, 3);
    EXPECT_EQ(again->request_api_version, version);
    EXPECT_EQ(again->correlation_id, 77);
    EXPECT_EQ(again->client_id, "me");
    EXPECT_TRUE(decode_body<MetadataRequest>(MutableByteView(frame).subspan(used), version));
    for (size_t size = 0; size < used; ++size) EXPECT_FALSE(decode_request_header(MutableByteView(frame).first(size), used));
  }
}

TEST(Header, ControlledShutdownOfVersionZeroHasNoClientId) {
  Bytes frame = encode_request({.request_api_version = 0, .correlation_id = 1, .client_id = "x"}, ControlledShutdownRequest{}).bytes;
  EXPECT_EQ(frame.size(), 8u + 4u);
  size_t used = 0;
  ASSERT_TRUE(decode_request_header(frame, used));
  EXPECT_EQ(used, 8u);
}

TEST(Header, ApiVersionsIsAlwaysAnsweredWithTheOldHeader) {
  EXPECT_EQ(response_header_version(ApiKey::kApiVersions, 3), 0);
  EXPECT_EQ(response_header_version(ApiKey::kMetadata, 9), 1);
  EXPECT_EQ(response_header_version(ApiKey::kMetadata, 8), 0);
  EXPECT_EQ(encode_response(5, 3, ApiVersionsResponse{}).bytes.size(), 4u + 2 + 1 + 4 + 1);
}

TEST(Header, VersionAboveTheKnownOnesIsReadAsFlexible) {
  Bytes frame{0, 18, 0, 99, 0, 0, 0, 1, 0, 1, 'c', 0, 'x'};
  size_t used = 0;
  auto header = decode_request_header(frame, used);
  ASSERT_TRUE(header);
  EXPECT_EQ(used, 12u);
}

TEST(Header, UnknownApiKeyIsRefused) {
  Bytes frame{0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff};
  size_t used = 0;
  EXPECT_FALSE(decode_request_header(frame, used));
}

TEST(Header, ResponseHeaderComesBack) {
  Bytes frame = encode_response(1234, 12, FetchResponse{}).bytes;
  size_t used = 0;
  auto id = decode_response_header(frame, ApiKey::kFetch, 12, used);
  ASSERT_TRUE(id);
  EXPECT_EQ(*id, 1234);
  EXPECT_EQ(used, 5u);
}

TEST(ApiKeys, TableHoldsEveryApiOnce) {
  EXPECT_EQ(all_apis().size(), 95u);
  int16_t last = -1;
  for (const ApiInfo& api : all_apis()) {
    EXPECT_GT(static_cast<int16_t>(api.key), last);
    last = static_cast<int16_t>(api.key);
    EXPECT_EQ(find_api(last), &api);
  }
  EXPECT_EQ(find_api(-1), nullptr);
  EXPECT_EQ(find_api(95), nullptr);
  EXPECT_EQ(name_of(ApiKey::kFetch), "Fetch");
  EXPECT_EQ(find_api(1)->max, FetchRequest::kMaxVersion);
}

}  // namespace
}  // namespace odradek::protocol
