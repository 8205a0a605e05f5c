/* Publishes points to a shard's stream door, in plain C with libzmq.
 *
 *     cc -std=c99 -O2 -o publisher publisher.c -lzmq
 *     ./publisher ipc:///run/robot/doors/stream 100
 *
 * The machine has to be little-endian (x86, ARM as Linux runs it).
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <zmq.h>

#include "points.h"

#define DIM 4
#define COUNT 8

static int fail(const char *what)
{
    fprintf(stderr, "publisher: %s: %s\n", what, zmq_strerror(zmq_errno()));
    return 1;
}

static int publish(void *socket, const char *topic, uint64_t epoch, uint64_t sequence)
{
    unsigned char header[POINTS_HEADER_MAX];
    uint64_t ids[COUNT];
    float vectors[COUNT][DIM];
    size_t length = points_header(header, "c-publisher", epoch, sequence, COUNT, DIM);
    int row, column;

    for (row = 0; row < COUNT; row++) {
        ids[row] = 1000000 + sequence * COUNT + row;
        for (column = 0; column < DIM; column++)
            vectors[row][column] = (float)(sequence + row) / (float)(1 + column);
    }
    if (zmq_send(socket, topic, strlen(topic), ZMQ_SNDMORE) < 0 ||
        zmq_send(socket, header, length, ZMQ_SNDMORE) < 0 ||
        zmq_send(socket, ids, sizeof ids, ZMQ_SNDMORE) < 0 ||
        zmq_send(socket, vectors, sizeof vectors, 0) < 0)
        return -1;
    return 0;
}

int main(int argc, char **argv)
{
    void *context, *socket;
    char subscription[256];
    int linger = 5000, patience = 10000, nodrop = 1;
    uint64_t epoch = (uint64_t)time(NULL), sequence, messages;

    if (argc != 3) {
        fprintf(stderr, "usage: publisher ADDRESS MESSAGES\n");
        return 2;
    }
    messages = strtoull(argv[2], NULL, 10);
    context = zmq_ctx_new();
    socket = zmq_socket(context, ZMQ_XPUB); /* XPUB tells when a subscriber is there */
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket, ZMQ_XPUB_NODROP, &nodrop, sizeof nodrop);
    if (zmq_connect(socket, argv[1]) < 0)
        return fail(argv[1]);
    if (zmq_recv(socket, subscription, sizeof subscription, 0) < 0)
        return fail("no subscriber");
    for (sequence = 1; sequence <= messages; sequence++)
        if (publish(socket, "points/c-publisher", epoch, sequence) < 0)
            return fail("sending");
    zmq_close(socket);
    zmq_ctx_term(context); /* waits until all is sent */
    printf("%llu messages of %d points\n", (unsigned long long)messages, COUNT);
    return 0;
}
