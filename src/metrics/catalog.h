// Every metric, one row each: /metrics, the dashboard and docs/metrics.md read it. Rows with an MBean carry the name that
// dashboards made for Kafka's JMX exporter query.
#pragma once

#include <span>
#include <string_view>

namespace odradek::metrics {

enum class Kind {
  kCounter,   // rises only; the name ends in _total
  kGauge,
  kUntyped,   // a gauge whose name, fixed by dashboards, breaks Prometheus' naming rules for gauges
  kHistogram, // written as a summary: quantiles of the last one to two minutes, _sum and _count since the start
};

struct MetricDef {
  std::string_view name;
  Kind kind = Kind::kGauge;
  std::string_view unit;    // of what is exported: "", "bytes", "ms", "s"
  std::string_view labels;  // comma separated names, in the order in which values are given
  std::string_view mbean;   // Kafka's name, "" for ours
  std::string_view help;
  double scale = 1;         // exported value = recorded value * scale (times are recorded in ns)
};

inline constexpr double kNsToMs = 1e-6;
inline constexpr double kNsToSeconds = 1e-9;

// --- topics: one sample for all topics (no label) and one per topic
inline constexpr MetricDef kMessagesIn{"kafka_server_brokertopicmetrics_messagesin_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec", "Records appended by producers."};
inline constexpr MetricDef kBytesIn{"kafka_server_brokertopicmetrics_bytesin_total", Kind::kCounter, "bytes", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec", "Bytes of batches appended by producers."};
inline constexpr MetricDef kBytesOut{"kafka_server_brokertopicmetrics_bytesout_total", Kind::kCounter, "bytes", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec", "Bytes of batches sent to consumers."};
inline constexpr MetricDef kBytesRejected{"kafka_server_brokertopicmetrics_bytesrejected_total", Kind::kCounter, "bytes", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=BytesRejectedPerSec", "Bytes of batches refused as too large."};
inline constexpr MetricDef kTotalProduceRequests{"kafka_server_brokertopicmetrics_totalproducerequests_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=TotalProduceRequestsPerSec", "Partitions named in produce requests."};
inline constexpr MetricDef kFailedProduceRequests{"kafka_server_brokertopicmetrics_failedproducerequests_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=FailedProduceRequestsPerSec", "Appends that failed for a reason that is not the client's."};
inline constexpr MetricDef kTotalFetchRequests{"kafka_server_brokertopicmetrics_totalfetchrequests_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=TotalFetchRequestsPerSec", "Partitions read for fetch requests."};
inline constexpr MetricDef kFailedFetchRequests{"kafka_server_brokertopicmetrics_failedfetchrequests_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=FailedFetchRequestsPerSec", "Reads that failed for a reason that is not the client's."};
inline constexpr MetricDef kProduceMessageConversions{"kafka_server_brokertopicmetrics_producemessageconversions_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=ProduceMessageConversionsPerSec", "Records of producers that were written again: to another format or codec."};
inline constexpr MetricDef kFetchMessageConversions{"kafka_server_brokertopicmetrics_fetchmessageconversions_total", Kind::kCounter, "", "topic",
    "kafka.server:type=BrokerTopicMetrics,name=FetchMessageConversionsPerSec", "Records made messages of an older format for a consumer."};
inline constexpr MetricDef kReplicationBytesOut{"kafka_server_brokertopicmetrics_replicationbytesout_total", Kind::kCounter, "bytes", "",
    "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesOutPerSec", "Bytes sent to followers."};
inline constexpr MetricDef kReplicationBytesIn{"kafka_server_brokertopicmetrics_replicationbytesin_total", Kind::kCounter, "bytes", "",
    "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesInPerSec", "Bytes appended as a follower."};
inline constexpr MetricDef kInvalidCrcRecords{"kafka_server_brokertopicmetrics_invalidmessagecrcrecords_total", Kind::kCounter, "", "",
    "kafka.server:type=BrokerTopicMetrics,name=InvalidMessageCrcRecordsPerSec", "Batches refused for a wrong CRC."};
inline constexpr MetricDef kInvalidOffsetOrSequenceRecords{"kafka_server_brokertopicmetrics_invalidoffsetorsequencerecords_total", Kind::kCounter, "", "",
    "kafka.server:type=BrokerTopicMetrics,name=InvalidOffsetOrSequenceRecordsPerSec", "Batches refused for offsets or sequences inside them."};

// --- replication
inline constexpr MetricDef kLeaderCount{"kafka_server_replicamanager_leadercount", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=LeaderCount", "Partitions led by this broker."};
inline constexpr MetricDef kPartitionCount{"kafka_server_replicamanager_partitioncount", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=PartitionCount", "Partitions on this broker."};
inline constexpr MetricDef kOfflineReplicaCount{"kafka_server_replicamanager_offlinereplicacount", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=OfflineReplicaCount", "Replicas here whose log dir is offline."};
inline constexpr MetricDef kUnderReplicatedPartitions{"kafka_server_replicamanager_underreplicatedpartitions", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions", "Partitions led here with fewer in-sync replicas than replicas."};
inline constexpr MetricDef kUnderMinIsrPartitionCount{"kafka_server_replicamanager_underminisrpartitioncount", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=UnderMinIsrPartitionCount", "Partitions led here with fewer in-sync replicas than min.insync.replicas."};
inline constexpr MetricDef kAtMinIsrPartitionCount{"kafka_server_replicamanager_atminisrpartitioncount", Kind::kGauge, "", "",
    "kafka.server:type=ReplicaManager,name=AtMinIsrPartitionCount", "Partitions led here with exactly min.insync.replicas in sync."};
inline constexpr MetricDef kIsrShrinks{"kafka_server_replicamanager_isrshrinks_total", Kind::kCounter, "", "",
    "kafka.server:type=ReplicaManager,name=IsrShrinksPerSec", "Times a replica left an ISR."};
inline constexpr MetricDef kIsrExpands{"kafka_server_replicamanager_isrexpands_total", Kind::kCounter, "", "",
    "kafka.server:type=ReplicaManager,name=IsrExpandsPerSec", "Times a replica joined an ISR."};
inline constexpr MetricDef kPurgatorySize{"kafka_server_delayedoperationpurgatory_purgatorysize", Kind::kGauge, "", "delayedoperation",
    "kafka.server:type=DelayedOperationPurgatory,name=PurgatorySize", "Requests that wait for something, by kind (Produce, Fetch, ...)."};
inline constexpr MetricDef kFetcherMaxLag{"kafka_server_replicafetchermanager_maxlag", Kind::kGauge, "", "client_id",
    "kafka.server:type=ReplicaFetcherManager,name=MaxLag,clientId=Replica", "Greatest lag of a partition that is followed here, in records."};
inline constexpr MetricDef kFetcherMinFetchRate{"kafka_server_replicafetchermanager_minfetchrate", Kind::kGauge, "", "client_id",
    "kafka.server:type=ReplicaFetcherManager,name=MinFetchRate,clientId=Replica", "Fetches a second of the slowest fetcher, since the values were written before."};
inline constexpr MetricDef kFetcherFailedPartitions{"kafka_server_replicafetchermanager_failedpartitionscount", Kind::kGauge, "", "client_id",
    "kafka.server:type=ReplicaFetcherManager,name=FailedPartitionsCount,clientId=Replica", "Followed partitions that are given up until the controller says more."};
inline constexpr MetricDef kFetcherDeadThreads{"kafka_server_replicafetchermanager_deadthreadcount", Kind::kGauge, "", "client_id",
    "kafka.server:type=ReplicaFetcherManager,name=DeadThreadCount,clientId=Replica", "Fetchers that have been in one step for a minute: their disk hangs."};
inline constexpr MetricDef kFetcherLag{"kafka_server_fetcherlagmetrics_consumerlag", Kind::kGauge, "", "client_id,topic,partition",
    "kafka.server:type=FetcherLagMetrics,name=ConsumerLag", "Records below the leader's high watermark that this follower lacks."};
inline constexpr MetricDef kFetcherState{"odradek_replica_fetcher_state", Kind::kGauge, "", "client_id",
    "", "0: at work; 1: its leader cannot be reached; 2: dead, in one step for a minute."};
inline constexpr MetricDef kLeaderReplicationRate{"kafka_server_leaderreplication_byte_rate", Kind::kGauge, "bytes/s", "",
    "kafka.server:type=LeaderReplication", "Sent to followers by leaders that are throttled (leader.replication.throttled.replicas)."};
inline constexpr MetricDef kFollowerReplicationRate{"kafka_server_followerreplication_byte_rate", Kind::kGauge, "bytes/s", "",
    "kafka.server:type=FollowerReplication", "Fetched by followers that are throttled (follower.replication.throttled.replicas)."};
inline constexpr MetricDef kAlterLogDirsReplicationRate{"kafka_server_alterlogdirsreplication_byte_rate", Kind::kGauge, "bytes/s", "",
    "kafka.server:type=AlterLogDirsReplication", "Copied by moves between log dirs."};
inline constexpr MetricDef kFetchSessions{"kafka_server_fetchsessioncache_numincrementalfetchsessions", Kind::kGauge, "", "",
    "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchSessions", "Open fetch sessions."};
inline constexpr MetricDef kFetchSessionPartitions{"kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", Kind::kGauge, "", "",
    "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchPartitionsCached", "Partitions in open fetch sessions."};
inline constexpr MetricDef kFetchSessionEvictions{"kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total", Kind::kCounter, "", "",
    "kafka.server:type=FetchSessionCache,name=IncrementalFetchSessionEvictionsPerSec", "Fetch sessions closed to make room."};
inline constexpr MetricDef kPartitionUnderReplicated{"kafka_cluster_partition_underreplicated", Kind::kGauge, "", "topic,partition",
    "kafka.cluster:type=Partition,name=UnderReplicated", "1: the partition led here lacks an in-sync replica."};

// --- controller
inline constexpr MetricDef kActiveControllerCount{"kafka_controller_kafkacontroller_activecontrollercount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=ActiveControllerCount", "1 on the broker that is the controller."};
inline constexpr MetricDef kOfflinePartitionsCount{"kafka_controller_kafkacontroller_offlinepartitionscount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=OfflinePartitionsCount", "Partitions without a leader, as the controller sees it."};
inline constexpr MetricDef kPreferredReplicaImbalanceCount{"kafka_controller_kafkacontroller_preferredreplicaimbalancecount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=PreferredReplicaImbalanceCount", "Partitions whose leader is not their first replica."};
inline constexpr MetricDef kGlobalTopicCount{"kafka_controller_kafkacontroller_globaltopiccount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=GlobalTopicCount", "Topics of the cluster."};
inline constexpr MetricDef kGlobalPartitionCount{"kafka_controller_kafkacontroller_globalpartitioncount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=GlobalPartitionCount", "Partitions of the cluster."};
inline constexpr MetricDef kTopicsToDeleteCount{"kafka_controller_kafkacontroller_topicstodeletecount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=TopicsToDeleteCount", "Topics whose deletion is not finished."};
inline constexpr MetricDef kActiveBrokerCount{"kafka_controller_kafkacontroller_activebrokercount", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=ActiveBrokerCount", "Live brokers, as the controller sees it."};
inline constexpr MetricDef kControllerState{"kafka_controller_kafkacontroller_controllerstate", Kind::kGauge, "", "",
    "kafka.controller:type=KafkaController,name=ControllerState", "What the controller is at now: 0 idle, 1 taking office, 2 brokers came or went, 3 topics, 4 deletions, "
    "5 reassignments, 6 and 7 leader balance, 8 controlled shutdown, 9 ISR changes, 10 answers to LeaderAndIsr, 11 log dirs, 12 leaving office."};
inline constexpr MetricDef kControllerEventQueueSize{"kafka_controller_controllereventmanager_eventqueuesize", Kind::kGauge, "", "",
    "kafka.controller:type=ControllerEventManager,name=EventQueueSize", "Events that wait for the controller."};
inline constexpr MetricDef kControllerEventQueueTime{"kafka_controller_controllereventmanager_eventqueuetimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerEventManager,name=EventQueueTimeMs", "How long events waited for the controller.", kNsToMs};
inline constexpr MetricDef kControllerTotalQueueSize{"kafka_controller_controllerchannelmanager_totalqueuesize", Kind::kGauge, "", "",
    "kafka.controller:type=ControllerChannelManager,name=TotalQueueSize", "Requests of the controller that brokers have not answered."};
inline constexpr MetricDef kControllerQueueSize{"kafka_controller_controllerchannelmanager_queuesize", Kind::kGauge, "", "broker_id",
    "kafka.controller:type=ControllerChannelManager,name=QueueSize", "The same for one broker."};
inline constexpr MetricDef kLeaderElectionTime{"kafka_controller_controllerstats_leaderelectionrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=LeaderElectionRateAndTimeMs", "Time of the controller for leader elections after brokers came or went.", kNsToMs};
inline constexpr MetricDef kControllerChangeTime{"kafka_controller_controllerstats_controllerchangerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=ControllerChangeRateAndTimeMs", "Time of the controller for taking office.", kNsToMs};
inline constexpr MetricDef kTopicChangeTime{"kafka_controller_controllerstats_topicchangerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=TopicChangeRateAndTimeMs", "Time of the controller for new topics and partitions.", kNsToMs};
inline constexpr MetricDef kTopicDeletionTime{"kafka_controller_controllerstats_topicdeletionrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=TopicDeletionRateAndTimeMs", "Time of the controller for steps of deletions.", kNsToMs};
inline constexpr MetricDef kAlterPartitionReassignmentTime{"kafka_controller_controllerstats_alterpartitionreassignmentrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=AlterPartitionReassignmentRateAndTimeMs", "Time of the controller for steps of reassignments.", kNsToMs};
inline constexpr MetricDef kAutoLeaderBalanceTime{"kafka_controller_controllerstats_autoleaderbalancerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=AutoLeaderBalanceRateAndTimeMs", "Time of the controller for moving leaders to preferred replicas by itself.", kNsToMs};
inline constexpr MetricDef kManualLeaderBalanceTime{"kafka_controller_controllerstats_manualleaderbalancerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=ManualLeaderBalanceRateAndTimeMs", "Time of the controller for elections that were asked for.", kNsToMs};
inline constexpr MetricDef kControlledShutdownTime{"kafka_controller_controllerstats_controlledshutdownrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=ControlledShutdownRateAndTimeMs", "Time of the controller for moving leaders away from a broker that stops.", kNsToMs};
inline constexpr MetricDef kIsrChangeTime{"kafka_controller_controllerstats_isrchangerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=IsrChangeRateAndTimeMs", "Time of the controller for ISR changes asked for by leaders.", kNsToMs};
inline constexpr MetricDef kLeaderAndIsrResponseReceivedTime{"kafka_controller_controllerstats_leaderandisrresponsereceivedrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=LeaderAndIsrResponseReceivedRateAndTimeMs", "Time of the controller for answers to LeaderAndIsr.", kNsToMs};
inline constexpr MetricDef kLogDirChangeTime{"kafka_controller_controllerstats_logdirchangerateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=LogDirChangeRateAndTimeMs", "Time of the controller for log dirs that failed.", kNsToMs};
inline constexpr MetricDef kControllerShutdownTime{"kafka_controller_controllerstats_controllershutdownrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.controller:type=ControllerStats,name=ControllerShutdownRateAndTimeMs", "Time of the controller for leaving office.", kNsToMs};
inline constexpr MetricDef kUncleanLeaderElections{"kafka_controller_controllerstats_uncleanleaderelections_total", Kind::kCounter, "", "",
    "kafka.controller:type=ControllerStats,name=UncleanLeaderElectionsPerSec", "Leaders elected from outside the ISR."};

// --- requests
inline constexpr MetricDef kRequests{"kafka_network_requestmetrics_requests_total", Kind::kCounter, "", "request,version",
    "kafka.network:type=RequestMetrics,name=RequestsPerSec", "Requests answered."};
inline constexpr MetricDef kRequestTotalTime{"kafka_network_requestmetrics_totaltimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=TotalTimeMs", "From the last byte of a request to the last byte of its answer.", kNsToMs};
inline constexpr MetricDef kRequestQueueTime{"kafka_network_requestmetrics_requestqueuetimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=RequestQueueTimeMs", "Waiting for a handler thread.", kNsToMs};
inline constexpr MetricDef kRequestLocalTime{"kafka_network_requestmetrics_localtimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=LocalTimeMs", "Worked on by a handler thread.", kNsToMs};
inline constexpr MetricDef kRequestRemoteTime{"kafka_network_requestmetrics_remotetimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=RemoteTimeMs", "Parked: waiting for followers, data or other members.", kNsToMs};
inline constexpr MetricDef kRequestThrottleTime{"kafka_network_requestmetrics_throttletimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=ThrottleTimeMs", "Quota throttling of the connection.", kNsToMs};
inline constexpr MetricDef kResponseQueueTime{"kafka_network_requestmetrics_responsequeuetimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=ResponseQueueTimeMs", "Finished answers waiting for their network thread.", kNsToMs};
inline constexpr MetricDef kResponseSendTime{"kafka_network_requestmetrics_responsesendtimems", Kind::kHistogram, "ms", "request",
    "kafka.network:type=RequestMetrics,name=ResponseSendTimeMs", "Sending the answer.", kNsToMs};
inline constexpr MetricDef kRequestBytes{"kafka_network_requestmetrics_requestbytes", Kind::kHistogram, "bytes", "request",
    "kafka.network:type=RequestMetrics,name=RequestBytes", "Size of requests."};
inline constexpr MetricDef kRequestQueueSize{"kafka_network_requestchannel_requestqueuesize", Kind::kGauge, "", "",
    "kafka.network:type=RequestChannel,name=RequestQueueSize", "Requests waiting for a handler thread."};
inline constexpr MetricDef kResponseQueueSize{"kafka_network_requestchannel_responsequeuesize", Kind::kGauge, "", "processor",
    "kafka.network:type=RequestChannel,name=ResponseQueueSize", "Answers waiting for their network thread (no label: of all)."};
inline constexpr MetricDef kHandlerIdle{"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", Kind::kGauge, "", "",
    "kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent", "Share of time the handler threads were idle, 0 to 1."};

// --- network
inline constexpr MetricDef kNetworkIdle{"kafka_network_socketserver_networkprocessoravgidle_percent", Kind::kGauge, "", "",
    "kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent", "Share of time the network threads were idle, 0 to 1."};
inline constexpr MetricDef kMemoryPoolAvailable{"kafka_network_socketserver_memorypoolavailable", Kind::kGauge, "bytes", "",
    "kafka.network:type=SocketServer,name=MemoryPoolAvailable", "What queued.max.request.bytes still allows."};
inline constexpr MetricDef kMemoryPoolUsed{"kafka_network_socketserver_memorypoolused", Kind::kGauge, "bytes", "",
    "kafka.network:type=SocketServer,name=MemoryPoolUsed", "Bytes reserved for frames that are in the broker."};
inline constexpr MetricDef kConnectionCount{"kafka_server_socket_server_metrics_connection_count", Kind::kUntyped, "", "listener,networkprocessor",
    "kafka.server:type=socket-server-metrics", "Open connections of one network thread."};
inline constexpr MetricDef kConnectionsCreated{"kafka_server_socket_server_metrics_connection_creation_total", Kind::kCounter, "", "listener",
    "kafka.server:type=socket-server-metrics", "Connections accepted."};
inline constexpr MetricDef kConnectionsRefused{"odradek_connections_refused_total", Kind::kCounter, "", "listener",
    "", "Connections closed right after accept, by max.connections.per.ip."};
inline constexpr MetricDef kAcceptorBlocked{"kafka_network_acceptor_acceptorblocked_percent", Kind::kGauge, "", "listener",
    "kafka.network:type=Acceptor,name=AcceptorBlockedPercent", "Share of time since the last scrape that accepting waited for room, 0 to 1."};

// --- log
inline constexpr MetricDef kLogSize{"kafka_log_log_size", Kind::kGauge, "bytes", "topic,partition",
    "kafka.log:type=Log,name=Size", "Bytes of all segments."};
inline constexpr MetricDef kLogEndOffset{"kafka_log_log_logendoffset", Kind::kGauge, "", "topic,partition",
    "kafka.log:type=Log,name=LogEndOffset", "Offset of the next record."};
inline constexpr MetricDef kLogStartOffset{"kafka_log_log_logstartoffset", Kind::kGauge, "", "topic,partition",
    "kafka.log:type=Log,name=LogStartOffset", "Offset of the first record."};
inline constexpr MetricDef kLogSegments{"kafka_log_log_numlogsegments", Kind::kGauge, "", "topic,partition",
    "kafka.log:type=Log,name=NumLogSegments", "Segments."};
inline constexpr MetricDef kLogFlushTime{"kafka_log_logflushstats_logflushrateandtimems", Kind::kHistogram, "ms", "",
    "kafka.log:type=LogFlushStats,name=LogFlushRateAndTimeMs", "Time of one fdatasync of a segment, by a flush thread.", kNsToMs};
inline constexpr MetricDef kLogFlushes{"odradek_log_flushes_total", Kind::kCounter, "", "topic,partition",
    "", "Flushes of the log that have ended."};
inline constexpr MetricDef kLogUnflushedMessages{"odradek_log_unflushed_messages", Kind::kGauge, "", "topic,partition",
    "", "Records that no flush has covered yet."};
inline constexpr MetricDef kLogFlushDebt{"odradek_log_flush_debt_ratio", Kind::kGauge, "", "topic,partition",
    "", "Unflushed part in multiples of flush.messages or flush.ms, the greater one; above log.flush.debt.factor answers to producers wait. "
    "Only logs with either setting."};
inline constexpr MetricDef kLogDirFlushTime{"odradek_log_directory_flush_seconds", Kind::kHistogram, "s", "logdirectory",
    "", "Time of one fdatasync of a segment, by log dir.", kNsToSeconds};
inline constexpr MetricDef kHeldProduces{"odradek_produce_held_by_flush_debt_total", Kind::kCounter, "", "",
    "", "Appends whose answer waited for a flush because the log was in debt."};
inline constexpr MetricDef kLogDirectoryFull{"odradek_log_directory_full", Kind::kGauge, "", "logdirectory",
    "", "1: no room is left, records of clients are refused until there is."};
inline constexpr MetricDef kLogDirectoryReserve{"odradek_log_directory_reserve_bytes", Kind::kGauge, "bytes", "logdirectory",
    "", "Room that is still kept for internal topics, markers, checkpoints and the metadata store."};
inline constexpr MetricDef kColdReadBytes{"odradek_log_cold_read_bytes_total", Kind::kCounter, "bytes", "",
    "", "Records that consumers and followers wanted and that had to come from the disk first."};
inline constexpr MetricDef kColdReadDroppedBytes{"odradek_log_cold_read_dropped_bytes_total", Kind::kCounter, "bytes", "",
    "", "Of these, what was given up again by log.cold.read.cache.bytes, so that it takes no more of the page cache."};
inline constexpr MetricDef kScrubbedBytes{"odradek_log_scrubbed_bytes_total", Kind::kCounter, "bytes", "",
    "", "Read of closed segments to check them."};
inline constexpr MetricDef kScrubCorruptSegments{"odradek_log_scrub_corrupt_segments", Kind::kGauge, "", "",
    "", "Closed segments that are damaged, in the last round; server.log names them."};
inline constexpr MetricDef kUncleanablePartitions{"kafka_log_logcleanermanager_uncleanable_partitions_count", Kind::kUntyped, "", "logdirectory",
    "kafka.log:type=LogCleanerManager,name=uncleanable-partitions-count", "Compacted partitions that could not be compacted and wait for another try."};
inline constexpr MetricDef kUncleanableBytes{"kafka_log_logcleanermanager_uncleanable_bytes", Kind::kGauge, "bytes", "logdirectory",
    "kafka.log:type=LogCleanerManager,name=uncleanable-bytes", "Bytes that wait for compaction in them."};
inline constexpr MetricDef kCleanerMaxDirtyPercent{"kafka_log_logcleanermanager_max_dirty_percent", Kind::kGauge, "", "",
    "kafka.log:type=LogCleanerManager,name=max-dirty-percent", "Greatest share of dirty bytes of a compacted log, 0 to 100."};
inline constexpr MetricDef kCleanerTimeSinceLastRun{"kafka_log_logcleanermanager_timesincelastrunms", Kind::kGauge, "ms", "",
    "kafka.log:type=LogCleanerManager,name=time-since-last-run-ms", "Time since the cleaner last looked for a log to compact."};
inline constexpr MetricDef kCleanerBufferUtilization{"kafka_log_logcleaner_max_buffer_utilization_percent", Kind::kGauge, "", "",
    "kafka.log:type=LogCleaner,name=max-buffer-utilization-percent", "How full the map of keys was in the last compaction, 0 to 100."};
inline constexpr MetricDef kCleanerRecopyPercent{"kafka_log_logcleaner_cleaner_recopy_percent", Kind::kGauge, "", "",
    "kafka.log:type=LogCleaner,name=cleaner-recopy-percent", "Bytes written by the last compaction per bytes read, 0 to 100."};
inline constexpr MetricDef kCleanerMaxTime{"kafka_log_logcleaner_max_clean_time_secs", Kind::kGauge, "s", "",
    "kafka.log:type=LogCleaner,name=max-clean-time-secs", "Time of the last compaction."};
inline constexpr MetricDef kCleanerMaxCompactionDelay{"kafka_log_logcleaner_max_compaction_delay_secs", Kind::kGauge, "s", "",
    "kafka.log:type=LogCleaner,name=max-compaction-delay-secs", "Greatest time by which a log is overdue (max.compaction.lag.ms)."};
inline constexpr MetricDef kCleanerDeadThreads{"kafka_log_logcleaner_deadthreadcount", Kind::kGauge, "", "",
    "kafka.log:type=LogCleaner,name=DeadThreadCount", "Always 0: an error ends a compaction, not its thread."};
inline constexpr MetricDef kCleanerFailures{"odradek_log_cleaner_failures_total", Kind::kCounter, "", "",
    "", "Compactions that ended with an error; they are tried again."};
inline constexpr MetricDef kCleanerBytesRead{"odradek_log_cleaner_read_bytes_total", Kind::kCounter, "bytes", "",
    "", "Bytes of log files read by compactions."};
inline constexpr MetricDef kCleanerBytesWritten{"odradek_log_cleaner_written_bytes_total", Kind::kCounter, "bytes", "",
    "", "Bytes of log files written by compactions."};
inline constexpr MetricDef kCleanerRecordsRemoved{"odradek_log_cleaner_removed_records_total", Kind::kCounter, "", "",
    "", "Records that compactions left out."};
inline constexpr MetricDef kOfflineLogDirectoryCount{"kafka_log_logmanager_offlinelogdirectorycount", Kind::kGauge, "", "",
    "kafka.log:type=LogManager,name=OfflineLogDirectoryCount", "Log dirs that failed."};
inline constexpr MetricDef kLogDirectoryOffline{"kafka_log_logmanager_logdirectoryoffline", Kind::kGauge, "", "logdirectory",
    "kafka.log:type=LogManager,name=LogDirectoryOffline", "1: this log dir failed."};
inline constexpr MetricDef kRemainingLogsToRecover{"kafka_log_logmanager_remaininglogstorecover", Kind::kGauge, "", "dir",
    "kafka.log:type=LogManager,name=remainingLogsToRecover", "Logs found at start that are not loaded yet; their partitions are not served."};

// --- groups
inline constexpr MetricDef kNumGroups{"kafka_coordinator_group_groupmetadatamanager_numgroups", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroups", "Groups coordinated here."};
inline constexpr MetricDef kNumGroupsPreparingRebalance{"kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsPreparingRebalance", "Groups that wait for members to join."};
inline constexpr MetricDef kNumGroupsCompletingRebalance{"kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsCompletingRebalance", "Groups that wait for the leader's assignment."};
inline constexpr MetricDef kNumGroupsStable{"kafka_coordinator_group_groupmetadatamanager_numgroupsstable", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsStable", "Groups at work."};
inline constexpr MetricDef kNumGroupsEmpty{"kafka_coordinator_group_groupmetadatamanager_numgroupsempty", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsEmpty", "Groups without members."};
inline constexpr MetricDef kNumGroupsDead{"kafka_coordinator_group_groupmetadatamanager_numgroupsdead", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsDead", "Groups that are being removed."};
inline constexpr MetricDef kNumOffsets{"kafka_coordinator_group_groupmetadatamanager_numoffsets", Kind::kGauge, "", "",
    "kafka.coordinator.group:type=GroupMetadataManager,name=NumOffsets", "Committed offsets held."};
inline constexpr MetricDef kOffsetCommits{"kafka_server_group_coordinator_metrics_offset_commit_total", Kind::kCounter, "", "",
    "kafka.server:type=group-coordinator-metrics", "Offsets committed."};
inline constexpr MetricDef kOffsetExpirations{"kafka_server_group_coordinator_metrics_offset_expiration_total", Kind::kCounter, "", "",
    "kafka.server:type=group-coordinator-metrics", "Offsets expired."};
inline constexpr MetricDef kGroupRebalances{"kafka_server_group_coordinator_metrics_group_completed_rebalance_total", Kind::kCounter, "", "",
    "kafka.server:type=group-coordinator-metrics", "Rebalances completed."};

// --- broker and process
inline constexpr MetricDef kBrokerState{"kafka_server_kafkaserver_brokerstate", Kind::kGauge, "", "",
    "kafka.server:type=KafkaServer,name=BrokerState", "1 starting, 2 recovering, 3 running, 6 controlled shutdown, 7 shutting down."};
inline constexpr MetricDef kSessionState{"kafka_server_sessionexpirelistener_sessionstate", Kind::kGauge, "", "state",
    "kafka.server:type=SessionExpireListener,name=SessionState", "1 for the state of the metadata session: CONNECTED, CONNECTING, EXPIRED, CLOSED."};
inline constexpr MetricDef kSessionConnects{"kafka_server_sessionexpirelistener_zookeepersyncconnects_total", Kind::kCounter, "", "",
    "kafka.server:type=SessionExpireListener,name=ZooKeeperSyncConnectsPerSec", "Times a session was connected."};
inline constexpr MetricDef kSessionDisconnects{"kafka_server_sessionexpirelistener_zookeeperdisconnects_total", Kind::kCounter, "", "",
    "kafka.server:type=SessionExpireListener,name=ZooKeeperDisconnectsPerSec", "Times the connection of a session was lost."};
inline constexpr MetricDef kSessionExpires{"kafka_server_sessionexpirelistener_zookeeperexpires_total", Kind::kCounter, "", "",
    "kafka.server:type=SessionExpireListener,name=ZooKeeperExpiresPerSec", "Sessions that expired."};
inline constexpr MetricDef kBuildInfo{"odradek_build_info", Kind::kGauge, "", "version",
    "", "Always 1; the label is the version."};
inline constexpr MetricDef kProcessCpu{"process_cpu_seconds_total", Kind::kCounter, "s", "", "", "CPU time of the process, user and system."};
inline constexpr MetricDef kProcessResidentMemory{"process_resident_memory_bytes", Kind::kGauge, "bytes", "", "", "Resident memory."};
inline constexpr MetricDef kProcessVirtualMemory{"process_virtual_memory_bytes", Kind::kGauge, "bytes", "", "", "Virtual memory."};
inline constexpr MetricDef kProcessThreads{"process_threads", Kind::kGauge, "", "", "", "Threads of the process."};
inline constexpr MetricDef kProcessOpenFds{"process_open_fds", Kind::kGauge, "", "", "", "Open file descriptors."};
inline constexpr MetricDef kProcessMaxFds{"process_max_fds", Kind::kGauge, "", "", "", "Limit of open file descriptors."};
inline constexpr MetricDef kProcessStartTime{"process_start_time_seconds", Kind::kGauge, "s", "", "", "Start of the process, seconds since 1970."};

// --- odradek mirror, on its own listener
inline constexpr MetricDef kMirrorActive{"odradek_mirror_active", Kind::kGauge, "", "", "", "1: this instance copies; 0: another one does, or it waits."};
inline constexpr MetricDef kMirrorTopics{"odradek_mirror_topics", Kind::kGauge, "", "", "", "Topics that are copied."};
inline constexpr MetricDef kMirrorRecords{"odradek_mirror_records_total", Kind::kCounter, "", "topic,partition",
    "", "Records that the target has acknowledged to this process."};
inline constexpr MetricDef kMirrorBytes{"odradek_mirror_bytes_total", Kind::kCounter, "bytes", "topic,partition", "", "Bytes of their batches."};
inline constexpr MetricDef kMirrorRebuilt{"odradek_mirror_rebuilt_batches_total", Kind::kCounter, "", "topic,partition",
    "", "Batches that could not be taken as they were: holes of compaction, LogAppendTime, formats before v2."};
inline constexpr MetricDef kMirrorLag{"odradek_mirror_lag_records", Kind::kGauge, "", "topic,partition",
    "", "Source offsets between what is acknowledged and the end that readers see; -1: not known yet."};
inline constexpr MetricDef kMirrorRuns{"odradek_mirror_offset_runs", Kind::kGauge, "", "topic,partition",
    "", "Runs of offsets in the map from source to target."};
inline constexpr MetricDef kMirrorPartitionState{"odradek_mirror_partition_state", Kind::kGauge, "", "topic,partition",
    "", "0: looks where the target ends; 1: copies; 2: stopped, /health/ready says why."};
inline constexpr MetricDef kMirrorDelay{"odradek_mirror_delay_seconds", Kind::kHistogram, "s", "",
    "", "From the arrival of a batch to its acknowledgement by the target.", kNsToSeconds};
inline constexpr MetricDef kMirrorFetchedBytes{"odradek_mirror_fetched_bytes_total", Kind::kCounter, "bytes", "", "", "Bytes of Fetch answers."};
inline constexpr MetricDef kMirrorBufferedBytes{"odradek_mirror_buffered_bytes", Kind::kGauge, "bytes", "",
    "", "Bytes asked for or fetched and not yet acknowledged by the target."};
inline constexpr MetricDef kMirrorMissedRecords{"odradek_mirror_missed_offsets_total", Kind::kCounter, "", "",
    "", "Source offsets that retention removed before they were copied."};
inline constexpr MetricDef kMirrorSourceCuts{"odradek_mirror_source_cuts_total", Kind::kCounter, "", "",
  "", "Partitions that stopped because the source's log was cut below what had been copied."};
inline constexpr MetricDef kMirrorGroupOffsets{"odradek_mirror_group_offsets_total", Kind::kCounter, "", "", "", "Offsets of groups written to the target."};

// All rows, in the order of docs/metrics.md. A row that is not listed cannot be registered.
std::span<const MetricDef* const> catalog();

}  // namespace odradek::metrics
