# What the daemons of s3-server are told; sourced by it.

write_conf() {
    cat >"$DIR/ceph.conf" <<CONF
# Written by s3-server at every start.
[global]
fsid = $FSID
mon host = v2:$HOST:$MON_PORT
public addr = $HOST
cluster addr = $HOST
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = $((PORT + 20))
ms bind port max = $((PORT + 99))
# One user on one loopback: no cephx. The S3 side has its own keys.
auth cluster required = none
auth service required = none
auth client required = none
# radosgw asks for an encrypted mon link by default, which needs cephx.
ms mon client mode = crc
run dir = $DIR
admin socket =
crash dir = $DIR/log
log file = $DIR/log/\$name.log
log max recent = 500
mon cluster log file = $DIR/log/cluster.log
mon cluster log to file = true
debug ms = 0
debug paxos = 0
debug osd = 0
debug mon = 0
debug rocksdb = 0
debug bdev = 0
debug bluestore = 0
debug bluefs = 0
debug memstore = 0
debug mgrc = 0
debug rgw = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0

[mon]
mon data = $DIR/mon
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 1000
mon data avail warn = 2
mon data avail crit = 1
mon memory autotune = false
# A pool is a dozen map changes: 0.05 s each, not 1 s.
paxos propose interval = 0.05

[mgr]
mgr data = $DIR/mgr

[osd]
osd data = $DIR/osd
osd journal =
osd objectstore = $STORE
# A clean stop unmounts the store: that is when memstore writes its files.
osd fast shutdown = false
crush location = root=default host=s3
osd max pg per osd hard ratio = 10
osd class update on start = false
osd crush initial weight = 1
memstore device bytes = $SIZE
bluestore block create = true
bluestore block size = $SIZE
bluestore block db create = false
bluestore block wal create = false
osd memory target = 939524096
osd memory cache min = 67108864
osd op num shards = 2
osd op num threads per shard = 2
osd max backfills = 1

[client]
rgw data = $DIR/rgw
rgw frontends = beast endpoint=$HOST:$PORT
rgw enable apis = s3, admin
rgw thread pool size = 64
rgw run sync thread = false
rgw rados pool pg num min = 8
rgw override bucket index max shards = 1
# Deleted data gives its room back after a minute or two, not after hours.
rgw gc obj min wait = 30
rgw gc processor period = 60
rgw gc processor max time = 60
CONF
}
